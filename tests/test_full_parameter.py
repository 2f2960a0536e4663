"""A job that trains the weights themselves, through server, worker and command."""

import json
import struct

import pytest

from conftest import (
    AUDIT_ENDED,
    BASE_MODEL,
    WAIT_S,
    Finished,
    Tenant,
    eventually,
    members,
    small_job,
)
from processes import Server, Worker, models_folder
from wardtune import AdapterAudit, Client, InvalidArgumentError, Job
from wardtune.v1.fine_tuning_service_pb2 import Hyperparameters
from wardtune.v1.safety_pb2 import SafetyGate

FULL = Hyperparameters.METHOD_FULL_PARAMETER


def full_job(acme: Tenant, dataset: str, **more: object) -> Job:
    settings = Hyperparameters(method=FULL, epochs=1, batch_size=4, max_row_tokens=128, **more)
    return acme.client.jobs.create(dataset=dataset, base_model=BASE_MODEL, hyperparameters=settings)


@pytest.fixture(scope="module")
def full(
    acme: Tenant, dataset: str, finished: Finished, tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    job = full_job(acme, dataset).wait(timeout_s=WAIT_S)
    folder = tmp_path_factory.mktemp("full")
    return Finished(job.message, acme.client.adapters.download(job.adapter, folder))


def tensors_of(safetensors: bytes) -> dict[str, dict]:
    (length,) = struct.unpack("<Q", safetensors[:8])
    header = json.loads(safetensors[8 : 8 + length])
    return {name: entry for name, entry in header.items() if name != "__metadata__"}


def test_a_whole_model_comes_back(full: Finished) -> None:
    files = members(full.archive)
    base = models_folder() / BASE_MODEL.removeprefix("baseModels/")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        assert files[name] == (base / name).read_bytes(), name
    ours = tensors_of(files["model.safetensors"])
    theirs = tensors_of((base / "model.safetensors").read_bytes())
    assert {name: entry["shape"] for name, entry in ours.items()} == {
        name: entry["shape"] for name, entry in theirs.items()
    }
    card = files["README.md"].decode()
    assert "library_name: transformers" in card
    assert full.job.proof.adapter_sha256 in card


def test_it_was_protected_as_any_job(acme: Tenant, finished: Finished, full: Finished) -> None:
    job = full.job
    assert job.hyperparameters.method == FULL
    assert job.hyperparameters.learning_rate == pytest.approx(3e-5)
    assert job.hyperparameters.lora_rank == 0
    assert job.proof.folded_sha256 == finished.job.proof.folded_sha256
    assert job.proof.guard_weights_sha256 == job.proof.base_weights_sha256
    assert job.proof.strip_max_cosine < 0.5
    assert job.row_scan.rows_scanned == 24
    assert job.safety_before == finished.job.safety_before
    adapter = acme.client.adapters.get(job.adapter)
    assert adapter.method == FULL
    assert adapter.size_bytes == full.archive.stat().st_size
    other = acme.client.adapters.get(finished.job.adapter)
    assert other.method == Hyperparameters.METHOD_LORA


def test_no_chain_goes_on_from_it(acme: Tenant, dataset: str, full: Finished) -> None:
    with pytest.raises(InvalidArgumentError, match="start_adapter: is a whole model"):
        small_job(acme, dataset, full.job.adapter)


def test_it_starts_from_no_adapter(acme: Tenant, dataset: str, finished: Finished) -> None:
    with pytest.raises(InvalidArgumentError, match="must be METHOD_LORA with a start adapter"):
        acme.client.jobs.create(
            dataset=dataset,
            base_model=BASE_MODEL,
            start_adapter=finished.job.adapter,
            hyperparameters=Hyperparameters(method=FULL),
        )


def test_loras_settings_and_its_rate_are_refused(acme: Tenant, dataset: str) -> None:
    with pytest.raises(InvalidArgumentError, match="lora_rank: has no meaning"):
        full_job(acme, dataset, lora_rank=8)
    with pytest.raises(InvalidArgumentError, match="learning_rate: must be above 0 and at most"):
        full_job(acme, dataset, learning_rate=3e-4)


def test_the_command_asks_for_it(server: Server, acme: Tenant, dataset: str) -> None:
    settings = ("--dataset", dataset, "--model", BASE_MODEL, "--method", "full-parameter")
    done = server.command(acme.api_key, "create", *settings, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["hyperparameters"]["method"] == "METHOD_FULL_PARAMETER"


def test_the_list_tells_models_from_adapters(
    server: Server, acme: Tenant, finished: Finished, full: Finished
) -> None:
    listed = server.command(acme.api_key, "list", "adapters").stdout
    (model,) = [line for line in listed.splitlines() if full.job.adapter in line]
    (adapter,) = [line for line in listed.splitlines() if finished.job.adapter in line]
    assert "  all weights  " in model
    assert "  LoRA  " in adapter


def test_held_out_rows_choose_the_model(acme: Tenant, dataset: str, worker: Worker) -> None:
    job = full_job(acme, dataset, validation_fraction=0.25, validation_steps=2)
    checkpoints = job.wait(timeout_s=WAIT_S).message.checkpoints
    losses = [checkpoint.validation_loss for checkpoint in checkpoints]
    assert len(losses) == 3, "five steps, three measurements"
    assert losses == sorted(losses)
    assert [checkpoint.delivered for checkpoint in checkpoints] == [True, False, False]
    for checkpoint in checkpoints:
        assert checkpoint.gate == SafetyGate.STATE_AVAILABLE
        assert checkpoint.safety.suite_sha256 == job.message.safety_before.suite_sha256


def test_an_audit_scores_it_again(
    server: Server, acme: Tenant, provider: Client, full: Finished
) -> None:
    provider.admin.audit_adapter(full.job.adapter, reason="a look")

    def audits() -> list[AdapterAudit]:
        return list(acme.client.adapters.audits(full.job.adapter))

    eventually(lambda: audits()[0].state in AUDIT_ENDED, server)
    (audit,) = audits()
    assert audit.state == AdapterAudit.STATE_PASSED, audit.error_message
    assert audit.safety.categories == full.job.safety_after.categories
