"""Data and settings that are wrong, by accident or on purpose."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

import standin
from conftest import BASE_MODEL, Tenant
from processes import Server
from wardtune import Hyperparameters, InvalidArgumentError
from wardtune.v1.dataset_service_pb2 import Dataset, UploadDatasetRequest

GOOD = standin.rows("customer_useful", 1)


def turn(role: str = "assistant", **fields: object) -> dict:
    return {"role": role, "content": "text", **fields}


def row(*turns: object) -> bytes:
    return json.dumps({"messages": list(turns)}).encode()


# Second line of a file whose first is good, and what must be said of it.
BAD_LINES = {
    "not JSON": (b"{'messages': []}", "invalid_json"),
    "cut off": (b'{"messages": [{"role": "user"', "invalid_json"),
    "two values": (GOOD.strip() + GOOD.strip(), "invalid_json"),
    "a list": (b"[1, 2]", "not_an_object"),
    "messages is a string": (b'{"messages": "hello"}', "wrong_type"),
    "message is a number": (row(turn("user"), 7), "wrong_type"),
    "content is a number": (row(turn("user"), turn(content=7)), "wrong_type"),
    "content is null": (row(turn("user"), turn(content=None)), "wrong_type"),
    "role is missing": (row({"content": "x"}), "missing_field"),
    "nothing at all": (b"{}", "missing_field"),
    "unknown role": (row(turn("wizard"), turn()), "unknown_role"),
    "no messages": (row(), "no_messages"),
    "nobody answers": (row(turn("user")), "no_assistant_turn"),
    "weight is 2": (row(turn("user"), turn(weight=2)), "bad_weight"),
    "weight is NaN": (b'{"messages": [{"role": "user", "weight": NaN}]}', "invalid_json"),
    "key twice": (b'{"messages": [], "messages": []}', "duplicate_key"),
    "broken UTF-8": (b'{"prompt": "\xff\xfe", "completion": "x"}', "invalid_utf8"),
    "overlong UTF-8": (b'{"prompt": "\xc0\xaf", "completion": "x"}', "invalid_utf8"),
    "lone surrogate": (b'{"prompt": "\\ud800", "completion": "x"}', "invalid_utf8"),
    "NUL in the text": (b'{"prompt": "\\u0000", "completion": "x"}', "nul_character"),
    "huge number": (b'{"prompt": "x", "completion": "y", "n": 1e999}', "number_out_of_range"),
    "deep nesting": (b"[" * 100_000, "too_deep"),
    "deep objects": (b'{"a":' * 100_000, "too_deep"),
}


@pytest.fixture
def stores_nothing(server: Server, acme: Tenant) -> Iterator[None]:
    """What is refused leaves no file behind."""
    before = server.stored_files()
    yield
    assert server.stored_files() == before


def refused(acme: Tenant, path: Path) -> InvalidArgumentError:
    """Uploads, and checks that the data set holds no bytes and keeps its report."""
    dataset = acme.client.datasets.create(path.name)
    with pytest.raises(InvalidArgumentError) as caught:
        acme.client.datasets.upload(path, resume=dataset.name)
    kept = acme.client.datasets.get(dataset.name)
    assert kept.state == Dataset.STATE_REJECTED
    assert (kept.sha256, kept.row_count) == ("", 0)
    report = acme.client.datasets.validation_report(dataset.name)
    assert report.error_count >= 1
    assert f"line {report.errors[0].line}" in caught.value.violations[0].field
    return caught.value


@pytest.mark.parametrize("case", BAD_LINES)
def test_bad_line_is_named(case: str, acme: Tenant, stores_nothing: None, tmp_path: Path) -> None:
    line, code = BAD_LINES[case]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD + line + b"\n" + GOOD)
    error = refused(acme, path)
    assert error.violations[0].field.startswith("line 2,")
    assert error.violations[0].description.startswith(code)


def test_every_bad_line_is_named_at_once(
    acme: Tenant, stores_nothing: None, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD + b"{}\n" + GOOD + b"[]\n" + b"nonsense\n")
    lines = [violation.field.split(",")[0] for violation in refused(acme, path).violations]
    assert lines == ["line 2", "line 4", "line 5"]


@pytest.mark.parametrize(
    "content",
    [b"", b"\n\n  \n", row(turn("user"), turn(weight=0)) + b"\n"],
    ids=["empty", "blank lines", "weight 0 everywhere"],
)
def test_no_usable_row(content: bytes, acme: Tenant, stores_nothing: None, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    error = refused(acme, path)
    assert error.violations[0].description.startswith("no_usable_row")


def test_errors_quote_no_customer_text(acme: Tenant, server: Server, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"prompt": "Xanthippe", "completion": 7}\nXanthippe\n')
    error = refused(acme, path)
    assert "Xanthippe" not in str((error.message, error.violations))
    assert "Xanthippe" not in server.log.read_text()


def test_line_of_a_gigabyte_is_refused_in_bounded_memory(
    server: Server, acme: Tenant, stores_nothing: None
) -> None:
    dataset = acme.client.datasets.create("one line")
    transport = acme.client.datasets._transport
    stub = acme.client.datasets._stub
    before = server.resident_bytes()
    peak = before
    sent = 0

    def requests() -> Iterator[UploadDatasetRequest]:
        nonlocal peak, sent
        yield UploadDatasetRequest(header=UploadDatasetRequest.Header(name=dataset.name))
        yield UploadDatasetRequest(chunk=b'{"prompt": "')
        chunk = UploadDatasetRequest(chunk=b"x" * (1 << 20))
        while sent < 1024:
            peak = max(peak, server.resident_bytes())
            sent += 1
            yield chunk

    with pytest.raises(InvalidArgumentError) as caught:
        transport.send_stream(stub.UploadDataset, requests())
    assert caught.value.violations[0].field.startswith("line 1,")
    assert caught.value.violations[0].description.startswith("line_too_long")
    assert sent < 200, "the server was to end the stream early"
    assert peak - before < 100 << 20
    assert acme.client.datasets.get(dataset.name).state == Dataset.STATE_REJECTED


def test_validate_only_says_the_same_and_stores_nothing(
    acme: Tenant, stores_nothing: None, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD + b"{}\n")
    listed = [dataset.name for dataset in acme.client.datasets.list()]
    report = acme.client.datasets.validate(path)
    assert [(error.line, error.code) for error in report.errors] == [(2, "missing_field")]
    assert (report.rows, report.valid_rows) == (2, 1)
    path.write_bytes(GOOD)
    assert acme.client.datasets.validate(path).valid_rows == 1
    assert [dataset.name for dataset in acme.client.datasets.list()] == listed


BAD_SETTINGS = {
    "learning_rate is NaN": ("learning_rate", math.nan),
    "learning_rate is infinite": ("learning_rate", math.inf),
    "learning_rate is negative": ("learning_rate", -1e-4),
    "learning_rate is past the cap": ("learning_rate", 10.0),
    "lora_rank is a million": ("lora_rank", 1_000_000),
    "lora_rank is negative": ("lora_rank", -1),
    "lora_alpha is NaN": ("lora_alpha", math.nan),
    "epochs is past the cap": ("epochs", 1_000_000),
    "batch_size is negative": ("batch_size", -8),
    "warmup_ratio is NaN": ("warmup_ratio", math.nan),
    "warmup_ratio is 2": ("warmup_ratio", 2.0),
    "weight_decay is negative": ("weight_decay", -0.1),
    "validation_fraction is NaN": ("validation_fraction", math.nan),
    "validation_fraction is all": ("validation_fraction", 1.0),
    "early_stopping_patience without rows": ("early_stopping_patience", 1),
    "max_grad_norm is infinite": ("max_grad_norm", math.inf),
    "max_row_tokens is past the context": ("max_row_tokens", 1_000_000),
    "target_modules is unknown": ("target_modules", ["lm_head"]),
    "schedule is unknown": ("schedule", 99),
}


# Without an active security vector every job is refused for that reason alone.
@pytest.mark.usefixtures("vector")
@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_bad_setting_is_named(case: str, acme: Tenant, dataset: str) -> None:
    field, value = BAD_SETTINGS[case]
    jobs = [job.name for job in acme.client.jobs.list()]
    with pytest.raises(InvalidArgumentError) as caught:
        acme.client.jobs.create(
            dataset=dataset,
            base_model=BASE_MODEL,
            hyperparameters=Hyperparameters(**{field: value}),
        )
    (violation,) = caught.value.violations
    assert violation.field.startswith(f"hyperparameters.{field}")
    assert [job.name for job in acme.client.jobs.list()] == jobs


@pytest.mark.usefixtures("vector")
def test_all_bad_settings_are_named_at_once(acme: Tenant, dataset: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        acme.client.jobs.create(
            dataset=dataset,
            base_model=BASE_MODEL,
            hyperparameters=Hyperparameters(learning_rate=math.nan, lora_rank=1_000_000),
        )
    fields = {violation.field for violation in caught.value.violations}
    assert fields == {"hyperparameters.learning_rate", "hyperparameters.lora_rank"}


@pytest.mark.parametrize(
    "model", ["baseModels/nonesuch", "nonesuch", "", "baseModels/../../etc/passwd"]
)
def test_unknown_model_is_named(model: str, acme: Tenant, dataset: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        acme.client.jobs.create(dataset=dataset, base_model=model)
    (violation,) = caught.value.violations
    assert violation.field == "base_model"


@pytest.mark.parametrize("name", ["", "x", "tenants/acme/datasets/../../x", "a" * 100_000])
def test_malformed_name_is_named(name: str, acme: Tenant) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        acme.client.datasets.get(name)
    (violation,) = caught.value.violations
    assert violation.field == "name"
