"""A worker that holds several leases: their jobs train together, and each gets what is its own."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import standin
from conftest import BASE_MODEL, WAIT_S, Tenant, eventually, members
from processes import Server, Worker
from wardtune import FineTuningJob, Hyperparameters, Job
from wardtune.v1.security_vector_service_pb2 import SecurityVectorVersion

AT_ONCE = 3


@pytest.fixture
def wide_worker(vector: SecurityVectorVersion, worker: Worker) -> Iterator[Worker]:
    """Not running."""
    worker.stop()
    yield worker
    worker.stop()
    worker.start()


def job_of(tenant: Tenant, rank: int, folder: Path) -> Job:
    rows = standin.write(folder, "customer_useful", 12)
    return tenant.client.jobs.create(
        dataset=tenant.client.datasets.upload(rows).dataset.name,
        base_model=BASE_MODEL,
        hyperparameters=Hyperparameters(
            epochs=2, batch_size=2, lora_rank=rank, learning_rate=1e-3, max_row_tokens=128
        ),
    )


def await_training(jobs: list[Job], step: int, server: Server) -> None:
    """Until all are in mid-training at once, each at `step` or later."""

    def all_train() -> bool:
        now = [job.refresh().message for job in jobs]
        return all(m.phase == FineTuningJob.PHASE_TRAINING and m.progress.step >= step for m in now)

    eventually(all_train, server)


def events_of(worker: Worker, offset: int, *kinds: str) -> list[tuple[str, str]]:
    """(event, job) of these kinds from the worker's log behind `offset`, in order."""
    lines = worker.log.read_bytes()[offset:].decode().splitlines()
    events = [json.loads(line) for line in lines if line.startswith("{")]
    return [(e["event"], e["work"]) for e in events if e["event"] in kinds]


def test_jobs_train_together_stop_together_and_end_apart(
    acme: Tenant, rival: Tenant, wide_worker: Worker, server: Server, tmp_path: Path
) -> None:
    log_begins = wide_worker.log.stat().st_size
    jobs = [job_of(acme, 4, tmp_path), job_of(rival, 8, tmp_path), job_of(acme, 4, tmp_path)]
    names = [job.name for job in jobs]
    wide_worker.start(f"--jobs_at_once={AT_ONCE}")
    await_training(jobs, 3, server)  # a checkpoint is made every 2 steps
    wide_worker.stop()
    ends = events_of(wide_worker, log_begins, "leased", "failed")
    assert [event for event, _ in ends] == ["leased"] * AT_ONCE + ["failed"] * AT_ONCE
    assert {name for _, name in ends} == set(names)

    wide_worker.start(f"--jobs_at_once={AT_ONCE}")
    await_training(jobs, 3, server)
    jobs[2].cancel()
    for job, rank in zip(jobs[:2], (4, 8), strict=True):
        job.wait(timeout_s=WAIT_S)
        assert job.message.attempt == 2
        assert job.message.progress.step == 12
        assert job.message.proof.canary_checks >= 5
        assert job.message.proof.strip_max_cosine < 0.5
        tenant = acme if rank == 4 else rival
        archive = tenant.client.adapters.download(job.message.adapter, tmp_path)
        assert json.loads(members(archive)["adapter_config.json"])["r"] == rank
    assert jobs[2].refresh().message.state == FineTuningJob.STATE_CANCELLED
    resumed = events_of(wide_worker, log_begins, "resumed")
    assert sorted(name for _, name in resumed) == sorted(names)
