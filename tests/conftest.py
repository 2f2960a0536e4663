"""One server, one worker and one small security vector for the whole run."""

import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import standin
from processes import MODEL, WAIT_S, Server, Worker, lenient_server
from wardtune import (
    AdapterAudit,
    Client,
    FineTuningJob,
    Hyperparameters,
    Job,
    OutputReport,
    SecurityVectorRecipe,
)
from wardtune.v1.safety_pb2 import RowScanPolicy, SafetyBound, SafetyPolicy
from wardtune.v1.security_vector_service_pb2 import SecurityVectorVersion

BASE_MODEL = f"baseModels/{MODEL}"
AUDIT_ENDED = (AdapterAudit.STATE_PASSED, AdapterAudit.STATE_DRIFTED, AdapterAudit.STATE_FAILED)


def eventually(what: Callable[[], bool], server: Server) -> None:
    deadline = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < deadline, server.tail()
        time.sleep(0.2)


def members(archive: Path) -> dict[str, bytes]:
    """The files of a download, by name."""
    with tarfile.open(archive) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}


# Two dozen steps and eight prompts say nothing of safety; the gate must not decide by them.
ANY_SCORE = [SafetyBound(category=c, max_rate=1, max_rise=1) for c in ("all", "*")]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = lenient_server(
        tmp_path_factory.mktemp("server"), "--lease=10s", "--max-chained-jobs=2"
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def worker(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    worker = Worker(tmp_path_factory.mktemp("worker"), server)
    worker.start()
    yield worker
    worker.stop()


@pytest.fixture(scope="session")
def provider(server: Server) -> Iterator[Client]:
    with server.client(server.key("PROVIDER")) as client:
        scan = RowScanPolicy(action=RowScanPolicy.ACTION_WARN)
        policy = SafetyPolicy(bounds=ANY_SCORE, row_scan=scan)
        client.admin.set_safety_policy(policy, reason="tiny test jobs")
        yield client


@dataclass
class Tenant:
    """A customer with a key."""

    id: str
    api_key: str
    client: Client

    def name(self, collection: str, id: str) -> str:
        return f"tenants/{self.id}/{collection}/{id}"


def make_tenant(server: Server, provider: Client, tenant_id: str) -> Tenant:
    tenant = provider.admin.create_tenant(tenant_id, max_active_jobs=1000)
    key = provider.admin.create_key(tenant.name)
    return Tenant(tenant_id, key.secret, server.client(key.secret))


@pytest.fixture(scope="session")
def acme(server: Server, provider: Client) -> Iterator[Tenant]:
    tenant = make_tenant(server, provider, "acme")
    yield tenant
    tenant.client.close()


@pytest.fixture(scope="session")
def rival(server: Server, provider: Client) -> Iterator[Tenant]:
    tenant = make_tenant(server, provider, "rival")
    yield tenant
    tenant.client.close()


@pytest.fixture(scope="session")
def vector(
    provider: Client, worker: Worker, tmp_path_factory: pytest.TempPathFactory
) -> SecurityVectorVersion:
    """The active security vector."""
    folder = tmp_path_factory.mktemp("rows")
    suite = provider.suites.create(
        "small",
        prompts=standin.rows("heldout_harmful", 8),
        rules=standin.rules(),
        general_prompts=standin.rows("heldout_general", 4),
    )
    harmful = provider.datasets.upload(standin.write(folder, "sv_rows", 48)).dataset.name
    general = provider.datasets.upload(standin.write(folder, "general_prompts", 16)).dataset.name
    version = provider.security_vectors.train(
        security_vector_id="small",
        base_model=BASE_MODEL,
        harmful_dataset=harmful,
        general_dataset=general,
        safety_suite=suite.name,
        recipe=SecurityVectorRecipe(
            epochs=4,
            learning_rate=2e-3,
            lora_rank=4,
            batch_size=8,
            general_batch_size=8,
            kl_weight=0.1,
        ),
    )
    provider.security_vectors.wait(version.name, timeout_s=WAIT_S)
    return provider.security_vectors.activate(version.name)


@pytest.fixture(scope="session")
def dataset(acme: Tenant, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Useful rows of acme's, small and many enough for two dozen steps."""
    path = standin.write(tmp_path_factory.mktemp("rows"), "customer_useful", 24)
    return acme.client.datasets.upload(path).dataset.name


def small_job(acme: Tenant, dataset: str, start_adapter: str = "") -> Job:
    """A job of 24 steps; all calls with one start make jobs that must end in the same bytes."""
    return acme.client.jobs.create(
        dataset=dataset,
        base_model=BASE_MODEL,
        start_adapter=start_adapter,
        hyperparameters=Hyperparameters(
            epochs=2, batch_size=2, lora_rank=4, learning_rate=1e-3, max_row_tokens=128, seed=7
        ),
    )


@dataclass
class Finished:
    """A job that ran undisturbed, and its downloaded archive."""

    job: FineTuningJob
    archive: Path


@pytest.fixture(scope="session")
def finished(
    acme: Tenant,
    dataset: str,
    vector: SecurityVectorVersion,
    tmp_path_factory: pytest.TempPathFactory,
) -> Finished:
    job = small_job(acme, dataset).wait(timeout_s=WAIT_S)
    folder = tmp_path_factory.mktemp("download")
    return Finished(job.message, acme.client.adapters.download(job.adapter, folder))


@pytest.fixture(scope="session")
def reported(acme: Tenant, finished: Finished) -> OutputReport:
    """A report of acme's that waits for the provider."""
    return acme.client.reports.create(
        finished.job.adapter,
        category="privacy",
        prompt="placeholder prompt of a report",
        output="placeholder output of a report",
        comment="placeholder comment of a report",
    )
