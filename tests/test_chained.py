"""Jobs that go on from an earlier job's adapter, through server, worker and command."""

import json
import subprocess
from pathlib import Path

import pytest

from conftest import BASE_MODEL, WAIT_S, Finished, Tenant, members, small_job
from processes import Server, Worker
from wardtune import FailedPreconditionError, FineTuningJob, InvalidArgumentError
from wardtune.v1.fine_tuning_service_pb2 import Hyperparameters


@pytest.fixture(scope="module")
def chained(
    acme: Tenant, dataset: str, finished: Finished, tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    """A second job, undisturbed, from the adapter of the first."""
    job = small_job(acme, dataset, finished.job.adapter).wait(timeout_s=WAIT_S)
    folder = tmp_path_factory.mktemp("chained")
    return Finished(job.message, acme.client.adapters.download(job.adapter, folder))


def test_both_jobs_are_protected_and_the_second_names_its_start(
    acme: Tenant, finished: Finished, chained: Finished
) -> None:
    first, second = finished.job, chained.job
    assert (first.start_adapter, first.chain_length) == ("", 1)
    assert (second.start_adapter, second.chain_length) == (first.adapter, 2)
    assert second.proof.start_adapter == first.adapter
    assert second.proof.start_adapter_sha256 == first.proof.adapter_sha256
    assert second.proof.chain_length == 2
    assert second.proof.adapter_sha256 != first.proof.adapter_sha256
    for job in (first, second):
        assert job.proof.folded_sha256 not in ("", job.proof.base_weights_sha256)
        assert job.proof.guard_weights_sha256 == job.proof.base_weights_sha256
        assert job.proof.canary_max_abs_diff <= job.proof.canary_tolerance
        assert job.proof.strip_max_cosine < 0.5
        assert job.row_scan.rows_scanned == 24
    assert second.safety_before == first.safety_before, "the base's, as for any job"
    assert second.safety_start == first.safety_after
    assert second.progress.loss < first.progress.loss
    adapter = acme.client.adapters.get(second.adapter)
    assert (adapter.start_adapter, adapter.chain_length) == (first.adapter, 2)
    card = members(chained.archive)["README.md"].decode()
    assert first.adapter in card
    assert first.proof.adapter_sha256 in card


def test_lora_is_taken_over_or_refused(acme: Tenant, dataset: str, finished: Finished) -> None:
    def check(rank: int) -> FineTuningJob:
        return acme.client.jobs.create(
            dataset=dataset,
            base_model=BASE_MODEL,
            start_adapter=finished.job.adapter,
            hyperparameters=Hyperparameters(lora_rank=rank),
            validate_only=True,
        ).message

    assert check(0).hyperparameters.lora_rank == 4
    with pytest.raises(InvalidArgumentError, match="is 8, but start_adapter has 4"):
        check(8)


def test_past_the_cap_a_chain_goes_no_further(
    server: Server, acme: Tenant, dataset: str, chained: Finished
) -> None:
    with pytest.raises(FailedPreconditionError, match="chains of at most 2") as refused:
        small_job(acme, dataset, chained.job.adapter)
    assert refused.value.reason == "CHAIN_TOO_LONG"

    def create(start: str) -> subprocess.CompletedProcess[str]:
        settings = ("--dataset", dataset, "--model", BASE_MODEL, "--start-adapter", start)
        return server.command(acme.api_key, "create", *settings, "--dry-run", "--json")

    done = create(chained.job.adapter)
    assert done.returncode != 0
    assert "2 jobs made it one after the other" in done.stderr
    again = create(chained.job.start_adapter)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["chain_length"] == 2


def test_killed_worker_resumes_a_chained_job_to_the_same_bytes(
    acme: Tenant,
    dataset: str,
    finished: Finished,
    chained: Finished,
    worker: Worker,
    tmp_path: Path,
) -> None:
    resumed_before = worker.log.read_text().count('"resumed"')
    job = small_job(acme, dataset, finished.job.adapter)
    # Checkpoints are made every 2 steps, so past step 5 there is one to go on from.
    for event in acme.client.jobs.watch(job.name, timeout_s=WAIT_S):
        if event.phase == FineTuningJob.PHASE_TRAINING and event.progress.step >= 5:
            worker.kill()
            break
    worker.start()
    job.wait(timeout_s=WAIT_S)
    assert job.message.attempt == 2
    assert worker.log.read_text().count('"resumed"') == resumed_before + 1, "started anew"
    archive = acme.client.adapters.download(job.adapter, tmp_path)
    assert members(archive) == members(chained.archive)
    assert archive.read_bytes() == chained.archive.read_bytes()
