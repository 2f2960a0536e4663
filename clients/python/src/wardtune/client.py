"""The way in: one client for one server and one key."""

from types import TracebackType

from wardtune.adapters import Adapters
from wardtune.admin import Admin
from wardtune.datasets import Datasets
from wardtune.jobs import Jobs
from wardtune.models import Models
from wardtune.reports import Reports
from wardtune.security_vectors import SecurityVectors, Suites
from wardtune.transport import RetryPolicy, Transport


class Client:
    """Speaks to one server with one API key. Thread-safe; close it, or use it in `with`.

    `target` is host:port. Plain text is spoken to this machine (localhost, 127.0.0.1, ::1) and to
    targets written as http://host:port, TLS to all others; `root_certificates` (PEM) replaces the
    roots that gRPC brings along. Each call has a deadline, `timeout_s` in all its tries;
    UNAVAILABLE is tried again where that cannot do a thing twice.
    """

    def __init__(
        self,
        target: str,
        api_key: str,
        root_certificates: bytes | None = None,
        *,
        timeout_s: float = 30.0,
        retry: RetryPolicy | None = None,
    ) -> None:
        self._transport = Transport(
            target,
            api_key,
            root_certificates=root_certificates,
            timeout_s=timeout_s,
            retry=retry,
        )
        self.datasets = Datasets(self._transport)
        self.jobs = Jobs(self._transport)
        self.adapters = Adapters(self._transport)
        self.models = Models(self._transport)
        self.reports = Reports(self._transport)
        self.security_vectors = SecurityVectors(self._transport)
        self.suites = Suites(self._transport)
        self.admin = Admin(self._transport)

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
