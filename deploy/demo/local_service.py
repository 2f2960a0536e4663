"""A server and one worker on this machine, stopped with the program that started them."""

import ctypes
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Self

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0


class LocalService:
    """Starts wardtune-server and wardtune-worker; use it in `with`.

    Their logs, the database, the blobs and the keys are in `folder`, which survives: a second start goes on
    with what the first one left. The children die with this process, even if it is killed.
    """

    def __init__(self, binaries: Path, models: Path, folder: Path) -> None:
        self._binaries = binaries
        self._models = models
        self._folder = folder
        self._children: list[tuple[str, subprocess.Popen[bytes]]] = []
        self.target = ""
        self.provider_key = ""

    def __enter__(self) -> Self:
        try:
            self._start_server()
            self._start_worker()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            # A call that failed because a process died is explained by that process's log.
            if isinstance(error, Exception):
                self.check()
        finally:
            self.stop()

    def check(self) -> None:
        """RuntimeError with the end of its log when server or worker has ended."""
        for name, child in self._children:
            if child.poll() is not None:
                raise RuntimeError(
                    f"the {name} ended with code {child.returncode}; {self._end_of_log(name)}"
                )

    def stop(self) -> None:
        """Ends worker and server, in this order, with SIGTERM and at last SIGKILL."""
        while self._children:
            _, child = self._children.pop()
            child.terminate()
            try:
                child.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _start_server(self) -> None:
        port_file = self._folder / "server.port"
        port_file.unlink(missing_ok=True)
        server = self._start(
            "server",
            self._binaries / "server" / "wardtune-server",
            f"--data-dir={self._folder / 'data'}",
            f"--models-dir={self._models}",
            "--listen=127.0.0.1:0",
            f"--port-file={port_file}",
            f"--bootstrap-keys-file={self._folder / 'keys.env'}",
        )
        self._wait_for(port_file, server, "server")
        self.target = f"127.0.0.1:{port_file.read_text().strip()}"
        self.provider_key = self._bootstrap_key("PROVIDER")

    def _start_worker(self) -> None:
        api_key = self._folder / "worker.key"
        vector_key = self._folder / "security-vector.key"
        _write_secret(api_key, self._bootstrap_key("WORKER").encode())
        if not vector_key.exists():
            _write_secret(vector_key, os.urandom(32))
        self._start(
            "worker",
            self._binaries / "worker" / "wardtune-worker",
            f"--server={self.target}",
            f"--api_key_file={api_key}",
            f"--models_dir={self._models}",
            f"--sv_key_file={vector_key}",
        )

    def _bootstrap_key(self, role: str) -> str:
        for line in (self._folder / "keys.env").read_text().splitlines():
            name, _, secret = line.partition("=")
            if name == f"WARDTUNE_{role}_KEY":
                return secret
        raise RuntimeError(f"{self._folder / 'keys.env'} holds no {role} key; make clean")

    def _start(self, name: str, *command: object) -> subprocess.Popen[bytes]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with open(self._folder / f"{name}.log", "ab") as log:
            child = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A session of its own: Ctrl-C reaches the demo, which stops its children in order.
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - no threads here
            )
        self._children.append((name, child))
        return child

    def _wait_for(self, path: Path, child: subprocess.Popen[bytes], name: str) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (path.exists() and path.read_text().strip()):
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the {name} did not start; {self._end_of_log(name)}")
            time.sleep(0.05)

    def _end_of_log(self, name: str) -> str:
        log = self._folder / f"{name}.log"
        lines = log.read_text(errors="replace").splitlines()[-15:]
        return "\n".join([f"the end of {log}:", *lines])


def _write_secret(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def die_with_parent() -> None:
    """For preexec_fn: the kernel kills the child when this process ends, however it ends."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
