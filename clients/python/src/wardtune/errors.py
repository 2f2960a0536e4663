"""What goes wrong, as exceptions: one class per gRPC code, with the server's reason and details."""

from dataclasses import dataclass

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status


@dataclass(frozen=True)
class FieldViolation:
    """One field of a request, or one line of a data set, that the server refused."""

    field: str
    description: str


class WardtuneError(Exception):
    """Base of all errors of this package.

    `reason` is the server's stable machine-readable reason (ErrorInfo.reason), empty when it gave
    none. `violations` names the fields or lines at fault. `retry_after_s` is set when the server
    said when to try again.
    """

    code: grpc.StatusCode | None = None

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        violations: tuple[FieldViolation, ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.violations = violations
        self.retry_after_s = retry_after_s


class InvalidArgumentError(WardtuneError):
    """A field or a line is wrong; `violations` names it. Trying again changes nothing."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class NotFoundError(WardtuneError):
    """There is no such thing, or it is another tenant's."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExistsError(WardtuneError):
    """The id is taken, or the request id was used with another body."""

    code = grpc.StatusCode.ALREADY_EXISTS


class FailedPreconditionError(WardtuneError):
    """The resource is not in a state that allows this; the message names the state."""

    code = grpc.StatusCode.FAILED_PRECONDITION


class AbortedError(WardtuneError):
    """The resource changed meanwhile: the etag is no longer its own."""

    code = grpc.StatusCode.ABORTED


class OutOfRangeError(WardtuneError):
    """An offset past the end."""

    code = grpc.StatusCode.OUT_OF_RANGE


class ResourceExhaustedError(WardtuneError):
    """Past a quota; `violations` holds the quota's subject and what it allows."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class UnauthenticatedError(WardtuneError):
    """No API key, or one that the server does not know or has revoked."""

    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDeniedError(WardtuneError):
    """The key's role may not do this."""

    code = grpc.StatusCode.PERMISSION_DENIED


class DataLossError(WardtuneError):
    """Bytes do not match their SHA-256."""

    code = grpc.StatusCode.DATA_LOSS


class UnavailableError(WardtuneError):
    """The server could not be reached, also after retries."""

    code = grpc.StatusCode.UNAVAILABLE


class DeadlineExceededError(WardtuneError):
    """The time allowed for the call ran out."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED


class CancelledError(WardtuneError):
    """The call was cancelled."""

    code = grpc.StatusCode.CANCELLED


class InternalError(WardtuneError):
    """The server failed, or answered with a code that this client does not know."""

    code = grpc.StatusCode.INTERNAL


class JobFailedError(WardtuneError):
    """A job that was waited for ended without an adapter; `reason` is the job's error code."""


_BY_CODE: dict[grpc.StatusCode, type[WardtuneError]] = {
    cls.code: cls for cls in WardtuneError.__subclasses__() if cls.code is not None
}


def from_rpc_error(error: grpc.RpcError) -> WardtuneError:
    """Turns what gRPC raised into this package's exception, with the google.rpc details."""
    code = error.code()
    reason = ""
    violations: list[FieldViolation] = []
    retry_after_s = None
    for detail in _details(error):
        info = error_details_pb2.ErrorInfo()
        bad_request = error_details_pb2.BadRequest()
        quota = error_details_pb2.QuotaFailure()
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(bad_request):
            violations += [
                FieldViolation(v.field, v.description) for v in bad_request.field_violations
            ]
        elif detail.Unpack(quota):
            violations += [FieldViolation(v.subject, v.description) for v in quota.violations]
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return _BY_CODE.get(code, InternalError)(
        error.details() or code.name,
        reason=reason,
        violations=tuple(violations),
        retry_after_s=retry_after_s,
    )


def _details(error: grpc.RpcError) -> list:
    try:
        status = rpc_status.from_call(error)
    except ValueError:  # The details contradict the status: trust the status alone.
        return []
    return list(status.details) if status is not None else []
