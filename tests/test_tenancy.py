"""Over all RPCs: another tenant's resource and a missing one are the same to a caller."""

from collections.abc import Iterator

import grpc
import pytest

import standin
from conftest import Finished, Tenant
from processes import Server
from rpcs import ID_FIELDS, NO_ID, Answer, IdField, Rpc, all_rpcs, call, id_fields, string_fields
from wardtune import Client, OutputReport
from wardtune.v1.security_vector_service_pb2 import SecurityVectorVersion

TENANT_SERVICES = {"DatasetService", "FineTuningService", "AdapterService", "OutputReportService"}
PUBLIC_SERVICES = {"ModelService"}
PROVIDER_SERVICES = {"AdminService", "SecurityVectorService", "WorkerService"}

# As long as the ids that the server gives, so that nothing in an answer's size tells them apart.
MISSING = "0" * 20


def collection_of(field: IdField) -> str:
    """The collection that a tenant's field names a member of."""
    if field.path[-1] == "dataset" or field.rpc.service == "DatasetService":
        return "datasets"
    if field.path[-1] == "start_adapter":
        return "adapters"
    if field.path[-1] == "job" or field.rpc.service == "FineTuningService":
        return "fineTuningJobs"
    if field.path[-1] == "adapter" or field.rpc.service == "AdapterService":
        return "adapters"
    return "outputReports"


TENANT_FIELDS = [
    field
    for rpc in all_rpcs()
    if rpc.service in TENANT_SERVICES
    for field in id_fields(rpc)
    if field.path[-1] != "base_model"  # Base models are everybody's.
]
PROVIDER_RPCS = [rpc for rpc in all_rpcs() if rpc.service in PROVIDER_SERVICES]


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.target) as channel:
        yield channel


def test_every_service_and_string_field_is_sorted() -> None:
    """A new RPC or field cannot slip past the tests below."""
    rpcs = all_rpcs()
    assert {rpc.service for rpc in rpcs} == TENANT_SERVICES | PUBLIC_SERVICES | PROVIDER_SERVICES
    names = {path[-1] for rpc in rpcs for path in string_fields(rpc.descriptor.input_type)}
    assert names <= ID_FIELDS | NO_ID, f"sort these: {names - ID_FIELDS - NO_ID}"
    assert len(TENANT_FIELDS) >= 13


@pytest.fixture(scope="module")
def rival_dataset(rival: Tenant, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = standin.write(tmp_path_factory.mktemp("rows"), "customer_useful", 4)
    return rival.client.datasets.upload(path).dataset.name


def ask(channel: grpc.Channel, field: IdField, name: str, tenant: Tenant, dataset: str) -> Answer:
    """Calls the RPC with `name` in the field and good values elsewhere."""
    request = field.rpc.request()
    if field.rpc.name == "CreateFineTuningJob":
        request.base_model = "baseModels/SmolLM2-135M-Instruct"
        request.dataset = dataset
    if field.rpc.name == "ReportOutput":
        request.category, request.prompt, request.output = "privacy", "p", "o"
    field.set(request, name)
    return call(channel, field.rpc, request, tenant.api_key)


def without(answer: Answer, name: str) -> tuple[grpc.StatusCode, str, bytes]:
    return answer.code, answer.text.replace(name, "*"), answer.details.replace(name.encode(), b"*")


@pytest.mark.parametrize("field", TENANT_FIELDS, ids=str)
def test_foreign_is_as_missing(
    channel: grpc.Channel,
    field: IdField,
    acme: Tenant,
    rival: Tenant,
    rival_dataset: str,
    finished: Finished,
    reported: OutputReport,
) -> None:
    collection = collection_of(field)
    # The data set is looked for first, so a start adapter's name comes with a good one.
    dataset = rival_dataset if field.path[-1] == "start_adapter" else finished.job.dataset
    owned = {
        "datasets": finished.job.dataset,
        "fineTuningJobs": finished.job.name,
        "adapters": finished.job.adapter,
        "outputReports": reported.name,
    }[collection]
    answers = {}
    for name in (
        owned,
        acme.name(collection, MISSING),
        rival.name(collection, MISSING),
        rival.name(collection, owned.rpartition("/")[2]),
        f"tenants/nobody/{collection}/{MISSING}",
    ):
        answer = ask(channel, field, name, rival, dataset)
        assert answer.code == grpc.StatusCode.NOT_FOUND, f"{name}: {answer}"
        answers[name] = without(answer, name)
    assert len(set(answers.values())) == 1, answers


@pytest.mark.parametrize("rpc", PROVIDER_RPCS, ids=str)
def test_provider_rpcs_are_closed_to_tenants(
    channel: grpc.Channel, rpc: Rpc, acme: Tenant, finished: Finished, vector: SecurityVectorVersion
) -> None:
    names = {
        "name": (vector.name, "tenants/acme/apiKeys/x"),
        "tenant": ("tenants/acme", "tenants/nobody"),
        "work": (finished.job.name, "nothing"),
    }
    answers = {call(channel, rpc, rpc.request(), acme.api_key)}
    for field in id_fields(rpc):
        for name in names.get(field.path[-1], ("baseModels/x", finished.job.dataset)):
            request = rpc.request()
            field.set(request, name)
            answers.add(call(channel, rpc, request, acme.api_key))
    (answer,) = answers
    assert answer.code == grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("rpc", all_rpcs(), ids=str)
@pytest.mark.parametrize("key", ["", "nonsense", "wt_" + "0" * 40])
def test_no_rpc_answers_without_a_key(channel: grpc.Channel, rpc: Rpc, key: str) -> None:
    assert call(channel, rpc, rpc.request(), key).code == grpc.StatusCode.UNAUTHENTICATED


def test_revoked_key_is_refused_at_once(server: Server, provider: Client, rival: Tenant) -> None:
    key = provider.admin.create_key(f"tenants/{rival.id}")
    rpc = next(rpc for rpc in all_rpcs() if rpc.name == "ListDatasets")
    with grpc.insecure_channel(server.target) as channel:
        assert call(channel, rpc, rpc.request(), key.secret).code == grpc.StatusCode.OK
        provider.admin.revoke_key(key.record.name)
        answer = call(channel, rpc, rpc.request(), key.secret)
    assert answer.code == grpc.StatusCode.UNAUTHENTICATED


def test_lists_show_nothing_of_others(
    rival: Tenant, finished: Finished, reported: OutputReport
) -> None:
    client = rival.client
    listed = [
        *(dataset.name for dataset in client.datasets.list()),
        *(job.name for job in client.jobs.list()),
        *(adapter.name for adapter in client.adapters.list()),
        *(report.name for report in client.reports.list()),
    ]
    assert [name for name in listed if not name.startswith("tenants/rival/")] == []
