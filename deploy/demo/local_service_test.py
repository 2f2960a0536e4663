"""Tests of local_service, with shell scripts in place of server and worker."""

from pathlib import Path

import pytest
from local_service import LocalService

SERVER = """#!/bin/bash
for flag in "$@"; do
  case "$flag" in
    --port-file=*) port_file="${flag#*=}" ;;
    --bootstrap-keys-file=*) keys="${flag#*=}" ;;
  esac
done
printf 'WARDTUNE_PROVIDER_KEY=p\\nWARDTUNE_WORKER_KEY=%s\\n' "${WORKER_KEY:-first}" > "$keys"
echo 4711 > "$port_file"
exec sleep 600
"""
# Lives until it is stopped.
WORKER = "#!/bin/bash\nexec sleep 600\n"
BROKEN_WORKER = "#!/bin/bash\necho 'the model folder is empty'\nexit 3\n"


def service(tmp_path: Path, worker: str) -> LocalService:
    for name, text in (("server", SERVER), ("worker", worker)):
        binary = tmp_path / "build" / name / f"wardtune-{name}"
        binary.parent.mkdir(parents=True, exist_ok=True)
        binary.write_text(text)
        binary.chmod(0o755)
    return LocalService(tmp_path / "build", tmp_path / "models", tmp_path / "data")


def worker_of(running: LocalService):
    return next(child for name, child in running._children if name == "worker")


def test_says_nothing_while_both_live(tmp_path: Path) -> None:
    with service(tmp_path, WORKER) as running:
        assert running.target == "127.0.0.1:4711"
        running.check()


def test_a_dead_worker_is_told_with_its_log(tmp_path: Path) -> None:
    with service(tmp_path, BROKEN_WORKER) as running:
        worker_of(running).wait()
        with pytest.raises(RuntimeError, match="worker ended with code 3.*\n.*folder is empty"):
            running.check()


def test_an_error_is_explained_by_the_process_that_died(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="the worker ended"),
        service(tmp_path, BROKEN_WORKER) as running,
    ):
        worker_of(running).wait()
        raise ConnectionError("the server does not answer")


def test_leaves_no_process_behind(tmp_path: Path) -> None:
    with service(tmp_path, WORKER) as running:
        children = [child for _, child in running._children]
    assert len(children) == 2
    assert all(child.returncode is not None for child in children)


def test_a_restart_takes_the_new_api_key_and_keeps_the_vector_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    with service(tmp_path, WORKER):
        vector_key = (data / "security-vector.key").read_bytes()
    monkeypatch.setenv("WORKER_KEY", "second")
    with service(tmp_path, WORKER):
        assert (data / "worker.key").read_text() == "second"
        assert (data / "security-vector.key").read_bytes() == vector_key
