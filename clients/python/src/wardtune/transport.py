"""How calls are made: the key, deadlines, and retries that cannot do a thing twice."""

import ipaddress
import random
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import grpc

from wardtune.errors import UnavailableError, WardtuneError, from_rpc_error

# The server's largest answer is a page of 1000 resources; its own limit for requests is below this.
_MAX_MESSAGE_BYTES = 16 << 20


@dataclass(frozen=True)
class RetryPolicy:
    """Waits between tries grow from `first_wait_s` by factor 2 to `max_wait_s`, with jitter.

    Single calls end after `max_attempts` tries. Uploads, downloads and watches, which go on where
    they broke off, end after `patience_s` in which nothing came through: long enough for a server
    to restart.
    """

    max_attempts: int = 6
    first_wait_s: float = 0.1
    max_wait_s: float = 5.0
    patience_s: float = 120.0

    def wait_s(self, failures: int, error: WardtuneError) -> float:
        """Seconds to wait after the `failures`-th failure in a row, counted from 1."""
        if error.retry_after_s is not None:
            return error.retry_after_s
        ceiling = min(self.max_wait_s, self.first_wait_s * 2 ** (failures - 1))
        return random.uniform(ceiling / 2, ceiling)


class Patience:
    """How long a transfer that goes on where it broke is tried without coming any further."""

    def __init__(self, transport: "Transport") -> None:
        self._transport = transport
        self.progressed()

    def progressed(self) -> None:
        self.failures = 0
        self._waited_s = 0.0
        self._since: float | None = None  # of the first failure

    def wait(self, error: WardtuneError) -> None:
        """Waits before the next try, or raises `error` when the patience is at its end."""
        self.failures += 1
        if self._since is None:
            self._since = time.monotonic()
        wait = self._transport.retry.wait_s(self.failures, error)
        self._waited_s += wait
        spent = max(self._waited_s, time.monotonic() - self._since + wait)
        if spent > self._transport.retry.patience_s:
            raise error
        self._transport.sleep(wait)


class Transport:
    """One connection and the rules for calls on it. Thread-safe."""

    def __init__(
        self,
        target: str,
        api_key: str,
        *,
        root_certificates: bytes | None = None,
        timeout_s: float = 30.0,
        stream_timeout_s: float = 3600.0,
        retry: RetryPolicy | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.channel = _open_channel(target, root_certificates)
        self.retry = retry or RetryPolicy()
        self.timeout_s = timeout_s
        self.stream_timeout_s = stream_timeout_s
        self.sleep = sleep
        self._metadata = (("authorization", f"Bearer {api_key}"),)

    def close(self) -> None:
        self.channel.close()

    def read(self, method: Callable[..., Any], request: Any) -> Any:
        """Calls a method that changes nothing; UNAVAILABLE is tried again."""
        return self._call(method, request, self.retry.max_attempts)

    def mutate(self, method: Callable[..., Any], request: Any) -> Any:
        """Calls a method that changes something.

        A request with a `request_id` gets one, and only such a request is tried again: the server
        then knows the second try for what it is.
        """
        attempts = 1
        if "request_id" in request.DESCRIPTOR.fields_by_name:
            request.request_id = request.request_id or str(uuid.uuid4())
            attempts = self.retry.max_attempts
        return self._call(method, request, attempts)

    def send_stream(self, method: Callable[..., Any], requests: Iterator[Any]) -> Any:
        """Sends a stream and returns the answer. Never retried: the caller resumes."""
        try:
            return method(requests, timeout=self.stream_timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None

    def receive_stream(
        self, method: Callable[..., Any], request: Any, *, timeout_s: float | None = None
    ) -> Iterator[Any]:
        """Yields a stream's messages. Never retried: the caller resumes."""
        call = method(request, timeout=timeout_s or self.stream_timeout_s, metadata=self._metadata)
        try:
            yield from call
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None
        finally:
            call.cancel()

    def pages(self, method: Callable[..., Any], request: Any, field: str) -> Iterator[Any]:
        """Yields every element of a list method, fetching pages as they are needed."""
        while True:
            response = self.read(method, request)
            yield from getattr(response, field)
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    def _call(self, method: Callable[..., Any], request: Any, attempts: int) -> Any:
        deadline = time.monotonic() + self.timeout_s
        failures = 0
        while True:
            remaining = max(deadline - time.monotonic(), 0.001)
            try:
                return method(request, timeout=remaining, metadata=self._metadata)
            except grpc.RpcError as error:
                failure = from_rpc_error(error)
            failures += 1
            wait = self.retry.wait_s(failures, failure)
            if (
                not isinstance(failure, UnavailableError)
                or failures >= attempts
                or time.monotonic() + wait >= deadline
            ):
                raise failure
            self.sleep(wait)


def _open_channel(target: str, root_certificates: bytes | None) -> grpc.Channel:
    """Plain text goes to this machine only, unless the target says `http://`."""
    options = [
        ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
        # A server that vanished without a word ends a stream within this time.
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 20_000),
    ]
    parts = urlsplit(target if "://" in target else f"//{target}")
    if parts.scheme not in ("", "http", "https"):
        raise ValueError(f"target {target!r}: use host:port, http://host:port or https://host:port")
    if not parts.hostname or parts.port is None:
        raise ValueError(f"target {target!r}: give both host and port, for example localhost:8433")
    plain = parts.scheme == "http" or (
        parts.scheme == "" and root_certificates is None and _is_loopback(parts.hostname)
    )
    if plain:
        return grpc.insecure_channel(parts.netloc, options=options)
    credentials = grpc.ssl_channel_credentials(root_certificates)
    return grpc.secure_channel(parts.netloc, credentials, options=options)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
