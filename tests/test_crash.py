"""kill -9, of the worker and of the server, at the worst moment."""

import threading
import uuid
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

import standin
from conftest import BASE_MODEL, WAIT_S, Finished, Tenant, members, small_job
from processes import Server, Worker
from wardtune import (
    Client,
    DeadlineExceededError,
    FineTuningJob,
    RetryPolicy,
    UnavailableError,
    WardtuneError,
)
from wardtune.v1.dataset_service_pb2 import Dataset
from wardtune.v1.security_vector_service_pb2 import SecurityVectorVersion


def test_killed_worker_resumes_to_the_same_adapter(
    acme: Tenant, dataset: str, finished: Finished, worker: Worker, tmp_path: Path
) -> None:
    resumed_before = worker.log.read_text().count('"resumed"')
    job = small_job(acme, dataset)
    killed_at = 0
    # Checkpoints are made every 2 steps, so past step 5 there is one to go on from.
    for event in acme.client.jobs.watch(job.name, timeout_s=WAIT_S):
        if event.phase == FineTuningJob.PHASE_TRAINING and event.progress.step >= 5:
            killed_at = event.progress.step
            worker.kill()
            break
    assert 5 <= killed_at < 24, "the worker was to be killed in mid-training"
    worker.start()
    job.wait(timeout_s=WAIT_S)
    assert job.message.attempt == 2

    assert worker.log.read_text().count('"resumed"') == resumed_before + 1, "started anew"

    archive = acme.client.adapters.download(job.adapter, tmp_path)
    undisturbed, survived = members(finished.archive), members(archive)
    assert survived.keys() == undisturbed.keys()
    for name in survived:
        assert survived[name] == undisturbed[name], f"{name} differs"
    assert archive.read_bytes() == finished.archive.read_bytes()


@pytest.fixture
def idle_worker(worker: Worker) -> Iterator[None]:
    """Nobody takes jobs meanwhile."""
    worker.stop()
    yield
    worker.start()


class Load:
    """Threads that upload and create, each remembering what the server acknowledged."""

    def __init__(self, server: Server, acme: Tenant, dataset: str, rows: Path) -> None:
        self._server = server
        self._acme = acme
        self._dataset = dataset
        self._rows = rows
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.datasets: dict[str, str] = {}
        self.jobs: list[str] = []
        self._threads = [
            threading.Thread(target=work) for work in (self._upload, self._upload, self._create)
        ]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def acknowledged(self) -> int:
        with self._lock:
            return min(len(self.datasets), len(self.jobs))

    def _client(self) -> Client:
        # One try a call: what the killed server did not acknowledge stays unacknowledged.
        return Client(
            self._server.target,
            self._acme.api_key,
            timeout_s=10,
            retry=RetryPolicy(max_attempts=1, patience_s=0),
        )

    def _upload(self) -> None:
        with self._client() as client:
            while not self._stop.is_set():
                try:
                    result = client.datasets.upload(self._rows)
                except WardtuneError:
                    continue
                with self._lock:
                    self.datasets[result.dataset.name] = result.dataset.sha256

    def _create(self) -> None:
        with self._client() as client:
            while not self._stop.is_set():
                name = self._create_one(client, str(uuid.uuid4()))
                if name is None:
                    return
                with self._lock:
                    self.jobs.append(name)

    def _create_one(self, client: Client, request_id: str) -> str | None:
        """Asks under one id until the server answers or the load ends; kills fall between."""
        while not self._stop.is_set():
            try:
                return client.jobs.create(
                    dataset=self._dataset, base_model=BASE_MODEL, request_id=request_id
                ).name
            except (UnavailableError, DeadlineExceededError):
                continue
        return None


def test_killed_server_loses_nothing_it_acknowledged(
    server: Server,
    acme: Tenant,
    dataset: str,
    vector: SecurityVectorVersion,
    idle_worker: None,
    tmp_path: Path,
) -> None:
    rows = standin.write(tmp_path, "customer_useful", 50)
    with Load(server, acme, dataset, rows) as load:
        for round in range(1, 4):
            for _ in range(3000):
                if load.acknowledged() >= 3 * round:
                    break
                threading.Event().wait(0.01)
            assert load.acknowledged() >= 3 * round, server.tail()
            server.kill()
            server.start()
    try:
        for name, digest in load.datasets.items():
            found = acme.client.datasets.get(name)
            assert (found.state, found.sha256) == (Dataset.STATE_READY, digest), name
            assert sha256(server.blob(digest).read_bytes()).hexdigest() == digest, name
        queued = [job.name for job in acme.client.jobs.list(state=FineTuningJob.STATE_QUEUED)]
        assert sorted(queued) == sorted(load.jobs), "each job once, and none twice"
    finally:
        for job in list(acme.client.jobs.list(state=FineTuningJob.STATE_QUEUED)):
            job.cancel()


def test_interrupted_upload_goes_on_after_a_kill(
    server: Server, acme: Tenant, idle_worker: None, tmp_path: Path
) -> None:
    row = standin.rows("customer_useful", 1)
    path = tmp_path / "long.jsonl"
    path.write_bytes(row * (24_000_000 // len(row)))
    dataset = acme.client.datasets.create("long")
    asked, dead = threading.Event(), threading.Event()

    def kill_once(done: int, total: int) -> None:
        if done > 20_000_000 and not asked.is_set():
            asked.set()
            server.kill()
            dead.set()

    with (
        Client(
            server.target, acme.api_key, retry=RetryPolicy(max_attempts=1, patience_s=0)
        ) as client,
        pytest.raises(WardtuneError),
    ):
        client.datasets.upload(path, resume=dataset.name, progress=kill_once)
    # The upload may end before the thread that kills has seen the process go.
    assert dead.wait(60)
    server.start()
    kept = acme.client.datasets.get(dataset.name).received_bytes
    assert 0 < kept < path.stat().st_size, "some bytes were durable, and not all"
    result = acme.client.datasets.upload(path, resume=dataset.name)
    assert result.dataset.state == Dataset.STATE_READY
    assert result.dataset.received_bytes == path.stat().st_size
