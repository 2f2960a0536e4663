"""What every command shares: the connection's options, --json, and how errors leave the process."""

import functools
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from wardtune import errors
from wardtune.client import Client

EXIT_JOB_FAILED = 1
EXIT_REFUSED = 3
EXIT_NO_ACCESS = 4
EXIT_NOT_FOUND = 5
EXIT_UNREACHABLE = 6
EXIT_OTHER = 7
EXIT_INTERRUPTED = 130

# What fits into the contract's fields; the server says what it allows of that.
INT32 = click.IntRange(-(2**31), 2**31 - 1)
INT64 = click.IntRange(-(2**63), 2**63 - 1)

# Beyond this, more violations hide the command's one-line error rather than explain it.
_MAX_VIOLATIONS = 20


@dataclass
class Options:
    """The options of the connection, from flags or the environment."""

    server: str
    api_key: str
    ca_certificate: Path | None
    json_output: bool = False

    def connect(self) -> Client:
        if not self.server:
            raise click.UsageError("no server: give --server or set WARDTUNE_SERVER")
        if not self.api_key:
            raise click.UsageError("no API key: set WARDTUNE_API_KEY or give --api-key")
        roots = self.ca_certificate.read_bytes() if self.ca_certificate else None
        try:
            return Client(self.server, self.api_key, root_certificates=roots)
        except ValueError as error:
            raise click.UsageError(str(error)) from None


def command(group: click.Group, name: str) -> Callable[[Callable[..., None]], click.Command]:
    """Registers a command that gets a Client and Options, and understands --json."""

    def register(function: Callable[..., None]) -> click.Command:
        @functools.wraps(function)
        def run(json_output: bool, **arguments: Any) -> None:
            options = click.get_current_context().find_object(Options)
            options.json_output = json_output
            with options.connect() as client:
                function(client, options, **arguments)

        decorated = click.option(
            "--json", "json_output", is_flag=True, help="Print JSON for programs."
        )(run)
        return group.command(name)(decorated)

    return register


def to_json(message: Message) -> dict[str, Any]:
    return MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def print_json(
    value: Message | dict[str, Any] | Iterable[Message], *, indent: int | None = 2
) -> None:
    if isinstance(value, Message):
        value = to_json(value)
    elif not isinstance(value, dict):
        value = [to_json(message) for message in value]
    click.echo(json.dumps(value, indent=indent, ensure_ascii=False))


def report(error: errors.WardtuneError, *, json_output: bool) -> int:
    """Says on standard error what went wrong and returns the exit code."""
    if json_output:
        document = {
            "error": {
                "code": error.code.name if error.code else "JOB_FAILED",
                "reason": error.reason,
                "message": error.message,
                "violations": [
                    {"field": v.field, "description": v.description} for v in error.violations
                ],
            }
        }
        click.echo(json.dumps(document, ensure_ascii=False), err=True)
        return exit_code(error)
    click.echo(f"error: {error.message}", err=True)
    for violation in error.violations[:_MAX_VIOLATIONS]:
        click.echo(f"  {violation.field}: {violation.description}", err=True)
    if len(error.violations) > _MAX_VIOLATIONS:
        click.echo(f"  and {len(error.violations) - _MAX_VIOLATIONS} more", err=True)
    return exit_code(error)


def exit_code(error: errors.WardtuneError) -> int:
    match error:
        case errors.JobFailedError():
            return EXIT_JOB_FAILED
        case (
            errors.InvalidArgumentError()
            | errors.FailedPreconditionError()
            | errors.AlreadyExistsError()
            | errors.ResourceExhaustedError()
        ):
            return EXIT_REFUSED
        case errors.UnauthenticatedError() | errors.PermissionDeniedError():
            return EXIT_NO_ACCESS
        case errors.NotFoundError():
            return EXIT_NOT_FOUND
        case errors.UnavailableError() | errors.DeadlineExceededError():
            return EXIT_UNREACHABLE
    return EXIT_OTHER


def fail(message: str, code: int) -> None:
    click.echo(f"error: {message}", err=True)
    sys.exit(code)
