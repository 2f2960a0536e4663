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


def job_of(tenant: Tenant, rank: int, epochs: int, folder: Path) -> Job:
    rows = standin.write(folder, "customer_useful", 12)
    return tenant.client.jobs.create(
        dataset=tenant.client.datasets.upload(rows).dataset.name,
        base_model=BASE_MODEL,
        hyperparameters=Hyperparameters(
            epochs=epochs, batch_size=2, lora_rank=rank, learning_rate=1e-3, max_row_tokens=128
        ),
    )


def jobs_with(event: str, worker: Worker, offset: int) -> list[str]:
    """The jobs of such events in the worker's log behind `offset`, in order."""
    lines = worker.log.read_bytes()[offset:].decode().splitlines()
    events = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
    return [e["work"] for e in events if e["event"] == event]


def test_jobs_train_together_stop_together_and_end_apart(
    acme: Tenant, rival: Tenant, wide_worker: Worker, server: Server, tmp_path: Path
) -> None:
    log_begins = wide_worker.log.stat().st_size
    # The last one, three times as long, is cancelled.
    jobs = [
        job_of(acme, 4, 2, tmp_path),
        job_of(rival, 8, 2, tmp_path),
        job_of(acme, 4, 6, tmp_path),
    ]
    names = {job.name for job in jobs}
    wide_worker.start(f"--jobs_at_once={AT_ONCE}")
    # The first checkpoints, after two steps of 12: each has one before any has ended.
    eventually(
        lambda: set(jobs_with("artifact_uploaded", wide_worker, log_begins)) == names, server
    )
    wide_worker.stop()
    assert set(jobs_with("leased", wide_worker, log_begins)) == names
    assert sorted(jobs_with("failed", wide_worker, log_begins)) == sorted(names), "handed back"

    wide_worker.start(f"--jobs_at_once={AT_ONCE}")
    eventually(lambda: set(jobs_with("resumed", wide_worker, log_begins)) == names, server)
    jobs[2].cancel()
    for job, tenant, rank in (jobs[0], acme, 4), (jobs[1], rival, 8):
        job.wait(timeout_s=WAIT_S)
        assert job.message.attempt == 2
        assert job.message.progress.step == 12
        assert job.message.proof.canary_checks >= 5
        assert job.message.proof.strip_max_cosine < 0.5
        archive = tenant.client.adapters.download(job.message.adapter, tmp_path)
        assert json.loads(members(archive)["adapter_config.json"])["r"] == rank
    eventually(lambda: jobs[2].refresh().message.state == FineTuningJob.STATE_CANCELLED, server)
    assert len(jobs_with("resumed", wide_worker, log_begins)) == AT_ONCE
