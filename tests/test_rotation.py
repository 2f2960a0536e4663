"""The key that seals security vectors is changed while the service runs.

A server, a worker and a vector of its own: the run's vector would have two sealed files afterwards.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from cryptography.exceptions import InvalidTag

import standin
from conftest import ANY_SCORE, BASE_MODEL, make_tenant, small_job
from processes import WAIT_S, Server, Worker, lenient_server
from test_leaks import CHANCE, MAGIC, Fingerprint, tensors, unseal
from wardtune import Client, FineTuningJob, Job, SecurityVectorRecipe
from wardtune.v1.safety_pb2 import SafetyPolicy
from wardtune.v1.security_vector_service_pb2 import SecurityVectorVersion

OLD_KEY, NEW_KEY = os.urandom(32), os.urandom(32)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = lenient_server(tmp_path_factory.mktemp("rotation-server"), "--lease=10s")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def worker(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Worker:
    """Not running; it holds the old key."""
    worker = Worker(tmp_path_factory.mktemp("rotation-worker"), server)
    worker.sealing_key = OLD_KEY
    return worker


@pytest.fixture(scope="module")
def provider(server: Server) -> Iterator[Client]:
    with server.client(server.key("PROVIDER")) as client:
        client.admin.set_safety_policy(SafetyPolicy(bounds=ANY_SCORE), reason="tiny test jobs")
        yield client


@dataclass
class Rotated:
    """A version that was trained under the old key and is under the new one."""

    version: SecurityVectorVersion
    before: bytes
    after: bytes


def sealed_files(server: Server) -> dict[str, bytes]:
    """Every stored file that is sealed, by its digest."""
    found = {path.name: path.read_bytes() for path in server.stored_files()}
    return {name: content for name, content in found.items() if content[:8] == MAGIC}


@pytest.fixture(scope="module")
def vector(
    server: Server,
    provider: Client,
    worker: Worker,
    tmp_path_factory: pytest.TempPathFactory,
) -> SecurityVectorVersion:
    folder = tmp_path_factory.mktemp("rotation-rows")
    suite = provider.suites.create(
        "small",
        prompts=standin.rows("heldout_harmful", 4),
        rules=standin.rules(),
        general_prompts=standin.rows("heldout_general", 2),
    )
    worker.start()
    try:
        version = provider.security_vectors.train(
            security_vector_id="small",
            base_model=BASE_MODEL,
            harmful_dataset=provider.datasets.upload(
                standin.write(folder, "sv_rows", 16)
            ).dataset.name,
            general_dataset=provider.datasets.upload(
                standin.write(folder, "general_prompts", 4)
            ).dataset.name,
            safety_suite=suite.name,
            recipe=SecurityVectorRecipe(
                epochs=8, learning_rate=2e-3, lora_rank=4, batch_size=8, kl_weight=0.1
            ),
        )
        provider.security_vectors.wait(version.name, timeout_s=WAIT_S)
        return provider.security_vectors.activate(version.name)
    finally:
        worker.stop()


@pytest.fixture(scope="module")
def rotated(
    server: Server, provider: Client, worker: Worker, vector: SecurityVectorVersion
) -> Rotated:
    """Without the old key nothing moves; with it the version does, and a repeat changes nothing."""
    (before,) = vector_files(server, OLD_KEY).values()
    worker.sealing_key = NEW_KEY
    lacking = worker.reseal()
    assert lacking.returncode == 1, lacking
    assert f"{vector.name} FAILED" in lacking.stdout
    assert vector_files(server, NEW_KEY) == {}

    worker.old_sealing_keys = [OLD_KEY]
    done = worker.reseal()
    assert done.returncode == 0, done
    assert f"{vector.name} resealed" in done.stdout
    assert "1 resealed, 0 left alone, 0 failed" in done.stdout
    (after,) = vector_files(server, NEW_KEY).values()

    worker.old_sealing_keys = []
    again = worker.reseal()
    assert again.returncode == 0, again
    assert "0 resealed, 1 left alone, 0 failed" in again.stdout
    assert list(vector_files(server, NEW_KEY).values()) == [after]
    for output in (lacking, done, again):
        for key in (OLD_KEY, NEW_KEY):
            assert key.hex() not in output.stdout + output.stderr
    return Rotated(vector, before, after)


def vector_files(server: Server, key: bytes) -> dict[str, bytes]:
    """The stored sealed files of finished vectors that this key opens."""
    found = {}
    for name, content in sealed_files(server).items():
        context = content[40 : 40 + int.from_bytes(content[36:40], "little")]
        if context.endswith(b"/checkpoint"):
            continue
        try:
            unseal(content, key)
        except InvalidTag:
            continue
        found[name] = content
    return found


@pytest.fixture(scope="module")
def new_job(
    server: Server, provider: Client, rotated: Rotated, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Job]]:
    tenant = make_tenant(server, provider, "acme")
    path = standin.write(tmp_path_factory.mktemp("rotation-rows"), "customer_useful", 8)
    dataset = tenant.client.datasets.upload(path).dataset.name

    def make() -> Job:
        return small_job(tenant, dataset)

    yield make
    tenant.client.close()


def test_the_same_weights_are_under_the_new_key(provider: Client, rotated: Rotated) -> None:
    assert unseal(rotated.after, NEW_KEY) == unseal(rotated.before, OLD_KEY)
    assert len(rotated.after) == len(rotated.before)
    version = provider.security_vectors.get(rotated.version.name)
    assert version == rotated.version, "nothing that the provider sees has changed"
    events = [
        event
        for event in provider.admin.list_audit_events()
        if event.action == "reseal_security_vector"
    ]
    assert [event.resource for event in events] == [rotated.version.name]


def test_a_worker_with_the_new_key_alone_runs_jobs(
    rotated: Rotated, worker: Worker, new_job: Callable[[], Job]
) -> None:
    worker.sealing_key, worker.old_sealing_keys = NEW_KEY, []
    worker.start()
    try:
        job = new_job().wait(timeout_s=WAIT_S)
    finally:
        worker.stop()
    assert job.message.state == FineTuningJob.STATE_SUCCEEDED
    assert job.message.proof.security_vector_sha256 == rotated.version.sha256


def test_a_worker_with_the_old_key_alone_says_which_key_it_lacks(
    rotated: Rotated, worker: Worker, new_job: Callable[[], Job]
) -> None:
    new_key_id = rotated.after[8:24].hex()
    worker.sealing_key, worker.old_sealing_keys = OLD_KEY, []
    job = new_job()
    log_before = len(worker.log.read_text().splitlines())
    worker.start()
    try:
        failure = wait_for_failure(worker, log_before)
    finally:
        job.cancel()
        worker.stop()
    assert failure["reason"] == "SECURITY_VECTOR_KEY_MISMATCH"
    assert new_key_id in failure["message"]
    assert rotated.before[8:24].hex() in failure["message"]


def wait_for_failure(worker: Worker, skip: int) -> dict[str, str]:
    """The first `failed` event in the log after `skip` lines."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        for line in worker.log.read_text().splitlines()[skip:]:
            event = json.loads(line)
            if event["event"] == "failed":
                return event
        time.sleep(0.2)
    raise AssertionError(f"no failure\n{worker.tail()}")


def test_nothing_stored_or_logged_holds_weights_or_keys(
    rotated: Rotated, server: Server, worker: Worker
) -> None:
    # The matrices alone: the text of the file's headers is the same in every adapter.
    adapter = max(tensors(unseal(rotated.after, NEW_KEY)), key=len)
    fingerprint = Fingerprint(tensors(adapter))
    assert fingerprint.hits(b"x" + unseal(rotated.before, OLD_KEY)) > 100_000
    for path in (*server.data.rglob("*"), server.log, worker.log):
        if not path.is_file():
            continue
        content = path.read_bytes()
        assert fingerprint.hits(content) <= CHANCE, path
        for key in (OLD_KEY, NEW_KEY):
            assert key not in content and key.hex().encode() not in content, path
