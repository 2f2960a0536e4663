"""The real server and worker as child processes that a test can kill and start again."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from wardtune import Client

REPOSITORY = Path(__file__).resolve().parent.parent
MODEL = "SmolLM2-135M-Instruct"

# What a test waits for real training at most; a machine with other work needs more.
WAIT_S = float(os.environ.get("WARDTUNE_TEST_WAIT_S", "240"))

_START_S = 120.0
_STOP_S = 60.0


def build_folder() -> Path:
    return Path(os.environ.get("WARDTUNE_BUILD_DIR", REPOSITORY / "build" / "release")).resolve()


def models_folder() -> Path:
    cache = os.environ.get("WARDTUNE_CACHE_DIR", Path.home() / ".cache" / "wardtune")
    return Path(cache).resolve() / "models"


class Process:
    """One child with its log. Subclasses say how it is called."""

    def __init__(self, name: str, folder: Path) -> None:
        self.log = folder / f"{name}.log"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._child is not None, "the process is not running"
        return self._child.pid

    def kill(self) -> None:
        """kill -9, and waits until it is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM; the process must end by itself, with exit code 0."""
        if self._child is not None:
            assert self._end(signal.SIGTERM) == 0, self.tail()

    def tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join([f"end of {self.log}:", *lines[-20:]])

    def resident_bytes(self) -> int:
        """Memory of the process that is in RAM now."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def _spawn(self, binary: Path, *flags: str) -> None:
        assert self._child is None, "already running"
        assert binary.is_file(), f"{binary} is missing: build it, or set WARDTUNE_BUILD_DIR"
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                [binary, *flags], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _end(self, how: signal.Signals) -> int:
        assert self._child is not None, "the process is not running"
        self._child.send_signal(how)
        try:
            return self._child.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
            raise AssertionError(f"did not end on {how.name}\n{self.tail()}") from None
        finally:
            self._child = None


class Server(Process):
    """wardtune-server on a free port, the same one after a restart."""

    def __init__(self, folder: Path, *flags: str) -> None:
        super().__init__("server", folder)
        self.data = folder / "data"
        self._folder = folder
        self._flags = flags
        self._port = 0

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self._port}"

    def start(self, *flags: str) -> None:
        """`flags` are for this run alone."""
        port_file = self._folder / "port"
        port_file.unlink(missing_ok=True)
        self._spawn(
            build_folder() / "server" / "wardtune-server",
            f"--data-dir={self.data}",
            f"--models-dir={models_folder()}",
            f"--listen=127.0.0.1:{self._port}",
            f"--port-file={port_file}",
            f"--bootstrap-keys-file={self._folder / 'keys.env'}",
            *self._flags,
            *flags,
        )
        deadline = time.monotonic() + _START_S
        while not port_file.exists():
            assert self._child.poll() is None, f"the server ended\n{self.tail()}"
            assert time.monotonic() < deadline, f"the server does not answer\n{self.tail()}"
            time.sleep(0.05)
        self._port = int(port_file.read_text())

    def metrics(self) -> str:
        """What /metrics says. Needs a run with `--metrics-listen`."""
        lines = self.log.read_text().splitlines()
        started = [json.loads(line) for line in lines if '"event":"started"' in line]
        port = started[-1]["metrics_port"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
            return answer.read().decode()

    def command(self, api_key: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs the command `wardtune` against this server, whatever comes of it."""
        return subprocess.run(
            [sys.executable, "-m", "wardtune.cli.main", *arguments],
            env={**os.environ, "WARDTUNE_SERVER": self.target, "WARDTUNE_API_KEY": api_key},
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )

    def key(self, role: str) -> str:
        """A bootstrap key, `PROVIDER` or `WORKER`."""
        for line in (self._folder / "keys.env").read_text().splitlines():
            name, _, secret = line.partition("=")
            if name == f"WARDTUNE_{role}_KEY":
                return secret
        raise AssertionError(f"no {role} key among the bootstrap keys")

    def client(self, api_key: str) -> Client:
        return Client(self.target, api_key, timeout_s=60)

    def stored_files(self) -> set[Path]:
        """Every file that holds content, the database apart."""
        return {
            path
            for path in self.data.rglob("*")
            if path.is_file() and not path.name.endswith((".db", ".db-wal", ".db-shm", "lock"))
        }

    def blob(self, sha256: str) -> Path:
        """Where the bytes of this digest are kept."""
        return self.data / "blobs" / "blobs" / sha256[:2] / sha256


def lenient_server(folder: Path, *flags: str) -> Server:
    """Not started. The bounds of activation are lowered: test vectors are trained to exist."""
    return Server(
        folder,
        "--min-vector-on-rate=0.000001",
        "--min-vector-on-prompts=1",
        "--max-general-on-rate=1",
        *flags,
    )


class Worker(Process):
    """wardtune-worker with a sealing key of its own. Checkpoints come every 2 steps."""

    def __init__(self, folder: Path, server: Server) -> None:
        super().__init__("worker", folder)
        self._folder = folder
        self._server = server
        self.sealing_key = os.urandom(32)
        self.old_sealing_keys: list[bytes] = []

    def start(self, *flags: str) -> None:
        """Returns once the process watches for signals: one that comes earlier just ends it.
        `flags` are for this run alone."""
        started_before = self._times_started()
        self._spawn(
            self._binary(),
            *self._connection_flags(),
            f"--models_dir={models_folder()}",
            "--worker_id=test-worker",
            "--score_tokens=16",
            "--checkpoint_steps=2",
            *flags,
        )
        deadline = time.monotonic() + _START_S
        while self._times_started() == started_before:
            assert self._child.poll() is None, f"the worker ended\n{self.tail()}"
            assert time.monotonic() < deadline, f"the worker does not start\n{self.tail()}"
            time.sleep(0.05)

    def reseal(self) -> subprocess.CompletedProcess[str]:
        """Runs the command that puts every security vector under `sealing_key`."""
        return subprocess.run(
            [self._binary(), "--reseal", *self._connection_flags()],
            capture_output=True,
            text=True,
            timeout=_START_S,
        )

    def _binary(self) -> Path:
        return build_folder() / "worker" / "wardtune-worker"

    def _connection_flags(self) -> list[str]:
        """Flags for server and keys, the files written anew."""
        api_key_file = self._folder / "worker.key"
        _write_secret(api_key_file, self._server.key("WORKER").encode())
        sealing_key_file = self._folder / "sealing.key"
        _write_secret(sealing_key_file, self.sealing_key)
        old_key_files = []
        for i, key in enumerate(self.old_sealing_keys):
            old_key_files.append(self._folder / f"old-{i}.key")
            _write_secret(old_key_files[-1], key)
        return [
            f"--server={self._server.target}",
            f"--api_key_file={api_key_file}",
            f"--sv_key_file={sealing_key_file}",
            f"--old_sv_key_files={','.join(map(str, old_key_files))}",
        ]

    def _times_started(self) -> int:
        return self.log.read_text().count('"worker_started"') if self.log.exists() else 0


def _write_secret(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
