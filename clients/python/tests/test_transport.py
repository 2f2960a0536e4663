import uuid

import grpc
import pytest
from scripted_server import DATASET, KEY, refusal

import wardtune

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def test_key_and_deadline_go_with_every_call(client, script):
    client.datasets.get(DATASET)
    assert script.metadata["GetDataset"]["authorization"] == f"Bearer {KEY}"
    # The deadline travels rounded up.
    assert 0 < script.deadlines["GetDataset"] < 22


def test_unavailable_read_is_tried_again(client, script):
    script.failures["GetDataset"] = [UNAVAILABLE, UNAVAILABLE]
    assert client.datasets.get(DATASET).name == DATASET
    assert len(script.requests["GetDataset"]) == 3


def test_tries_end(client, script):
    script.failures["GetDataset"] = [UNAVAILABLE] * 9
    with pytest.raises(wardtune.UnavailableError):
        client.datasets.get(DATASET)
    assert len(script.requests["GetDataset"]) == 4


def test_other_codes_are_not_tried_again(client, script):
    script.failures["GetDataset"] = [grpc.StatusCode.INTERNAL]
    with pytest.raises(wardtune.InternalError):
        client.datasets.get(DATASET)
    assert len(script.requests["GetDataset"]) == 1


def test_mutation_is_tried_again_under_one_request_id(client, script):
    script.failures["CreateDataset"] = [UNAVAILABLE]
    client.datasets.create("rows")
    first, second = (request.request_id for request in script.requests["CreateDataset"])
    assert first == second
    uuid.UUID(first)


def test_two_mutations_have_two_request_ids(client, script):
    client.datasets.create("rows")
    client.datasets.create("rows")
    first, second = (request.request_id for request in script.requests["CreateDataset"])
    assert first != second


def test_mutation_without_request_id_is_not_tried_again(client, script):
    script.failures["CreateApiKey"] = [UNAVAILABLE]
    with pytest.raises(wardtune.UnavailableError):
        client.admin.create_key("tenants/acme")
    assert len(script.requests["CreateApiKey"]) == 1


def test_error_carries_reason_and_fields(client, script):
    script.failures["GetDataset"] = [refusal(("name", "is empty"), ("etag", "is too long"))]
    with pytest.raises(wardtune.InvalidArgumentError) as caught:
        client.datasets.get("")
    assert caught.value.reason == "BAD_FIELDS"
    assert caught.value.violations == (
        wardtune.FieldViolation("name", "is empty"),
        wardtune.FieldViolation("etag", "is too long"),
    )


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.NOT_FOUND, wardtune.NotFoundError),
        (grpc.StatusCode.UNAUTHENTICATED, wardtune.UnauthenticatedError),
        (grpc.StatusCode.PERMISSION_DENIED, wardtune.PermissionDeniedError),
        (grpc.StatusCode.FAILED_PRECONDITION, wardtune.FailedPreconditionError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, wardtune.ResourceExhaustedError),
        (grpc.StatusCode.ABORTED, wardtune.AbortedError),
        (grpc.StatusCode.UNIMPLEMENTED, wardtune.InternalError),
    ],
)
def test_each_code_has_its_class(client, script, code, error):
    script.failures["GetDataset"] = [code]
    with pytest.raises(error):
        client.datasets.get(DATASET)


def test_lists_fetch_all_pages(client, script):
    names = [dataset.name for dataset in client.datasets.list(page_size=2)]
    assert names == [f"tenants/acme/datasets/{i}" for i in range(5)]
    assert len(script.requests["ListDatasets"]) == 3


def test_secret_is_not_in_the_repr(client):
    key = client.admin.create_key("tenants/acme")
    assert key.secret == "wt_secret"
    assert "wt_secret" not in repr(key)


@pytest.mark.parametrize("target", ["localhost", "ftp://h:1", ":8980", ""])
def test_bad_target_is_refused(target):
    with pytest.raises(ValueError, match="target"):
        wardtune.Client(target, KEY)


def test_key_is_not_sent_in_plain_text_to_another_machine(monkeypatch):
    opened = []
    monkeypatch.setattr(grpc, "insecure_channel", lambda *a, **k: opened.append("plain"))
    monkeypatch.setattr(grpc, "secure_channel", lambda *a, **k: opened.append("tls"))
    from wardtune.transport import Transport

    for target in ("10.1.2.3:8980", "example.org:8980", "https://localhost:8433"):
        Transport(target, KEY)
    assert opened == ["tls"] * 3
    Transport("localhost:8433", KEY)
    assert opened[-1] == "plain"
