"""All RPCs of the contract, found through the descriptors, and raw calls of them."""

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

import wardtune.v1

# String fields that name a resource. `header.name` and `header.work` are reached through their
# message. Every other string field of a request must be in NO_ID: a new field is put in one or the
# other, or the test of completeness fails.
ID_FIELDS = {
    "name",
    "adapter",
    "job",
    "dataset",
    "base_model",
    "tenant",
    "harmful_dataset",
    "general_dataset",
    "safety_suite",
    "judge_adapter",
    "start_adapter",
    "added_to",
    "work",
}
NO_ID = {
    "adapter_sha256",
    "after",  # A cursor, as page_token.
    "api_key",
    "artifact_sha256",
    "base_models",  # What a worker has, not what it asks for.
    "categories",
    "category",
    "comment",
    "display_name",
    "error_code",
    "error_message",
    "etag",
    "note",
    "output",
    "page_token",
    "paths",  # Fields of an update mask.
    "created_by",
    "prompt",
    "reason",
    "plain_sha256",
    "replaced_sha256",
    "request_id",
    "security_vector_id",  # Ids that the caller chooses anew.
    "suite_id",
    "tenant_id",
    "sha256",
    "target_modules",
    "worker_id",
    # Of reports and proofs, which workers hand in.
    "suite_sha256",
    "judge",
    "judge_sha256",
    "sampling_sha256",
    "security_vector_version",
    "security_vector_sha256",
    "base_sha256",
    "folded_sha256",
    "guard_refusals",
    "guard_rows_sha256",
    "guard_weights_sha256",
    "start_adapter_sha256",
    "scored_base_sha256",
    "base_weights_sha256",
}


@dataclass(frozen=True)
class Rpc:
    """One method; `service` and `name` as in the contract."""

    service: str
    name: str
    descriptor: MethodDescriptor

    def __str__(self) -> str:
        return f"{self.service}.{self.name}"

    def request(self) -> Any:
        return GetMessageClass(self.descriptor.input_type)()


@dataclass(frozen=True)
class IdField:
    """A field of an RPC's request that names a resource, by its path."""

    rpc: Rpc
    path: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.rpc}/{'.'.join(self.path)}"

    def set(self, request: Message, name: str) -> None:
        for part in self.path[:-1]:
            request = getattr(request, part)
        setattr(request, self.path[-1], name)


def all_rpcs() -> list[Rpc]:
    """Every method of every service in wardtune.v1, in a fixed order."""
    found = []
    for module in pkgutil.iter_modules(wardtune.v1.__path__):
        if not module.name.endswith("_pb2"):
            continue
        file = importlib.import_module(f"wardtune.v1.{module.name}").DESCRIPTOR
        for service in file.services_by_name.values():
            found += [Rpc(service.name, method.name, method) for method in service.methods]
    return sorted(found, key=str)


def string_fields(message: Descriptor, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of all string fields of a message and of the messages in it."""
    for field in message.fields:
        here = (*path, field.name)
        if field.type == FieldDescriptor.TYPE_STRING:
            yield here
        elif field.type == FieldDescriptor.TYPE_MESSAGE and field.message_type.name not in (
            "Timestamp",
            "Duration",
        ):
            yield from string_fields(field.message_type, here)


def id_fields(rpc: Rpc) -> list[IdField]:
    return [
        IdField(rpc, path)
        for path in string_fields(rpc.descriptor.input_type)
        if path[-1] in ID_FIELDS
    ]


@dataclass(frozen=True)
class Answer:
    """What came back: the messages, or the code with its text and all details."""

    code: grpc.StatusCode
    text: str
    details: bytes
    messages: tuple[bytes, ...] = ()


def call(channel: grpc.Channel, rpc: Rpc, request: Message, api_key: str) -> Answer:
    """One call, without retries. A request stream carries the one message."""
    method = rpc.descriptor
    path = f"/{method.containing_service.full_name}/{method.name}"
    response_class = GetMessageClass(method.output_type)
    streaming = {
        (False, False): channel.unary_unary,
        (False, True): channel.unary_stream,
        (True, False): channel.stream_unary,
        (True, True): channel.stream_stream,
    }[(method.client_streaming, method.server_streaming)]
    invoke = streaming(path, type(request).SerializeToString, response_class.FromString)
    argument = iter([request]) if method.client_streaming else request
    metadata = (("authorization", f"Bearer {api_key}"),)
    try:
        result = invoke(argument, timeout=60, metadata=metadata)
        messages = list(result) if method.server_streaming else [result]
    except grpc.RpcError as error:
        trailers = dict(error.trailing_metadata() or ())
        details = trailers.get("grpc-status-details-bin", b"")
        return Answer(error.code(), error.details() or "", details)
    return Answer(
        grpc.StatusCode.OK, "", b"", tuple(message.SerializeToString() for message in messages)
    )
