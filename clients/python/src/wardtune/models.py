"""Base models: what jobs start from."""

from collections.abc import Iterator

from wardtune.transport import Transport
from wardtune.v1 import model_service_pb2 as pb
from wardtune.v1 import model_service_pb2_grpc as rpc


class Models:
    """The base models that the provider offers. Errors: see wardtune.errors."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = rpc.ModelServiceStub(transport.channel)

    def get(self, name: str) -> pb.BaseModel:
        request = pb.GetBaseModelRequest(name=name)
        return self._transport.read(self._stub.GetBaseModel, request).base_model

    def list(self, *, page_size: int = 0) -> Iterator[pb.BaseModel]:
        """By name; fetches pages as they are needed."""
        request = pb.ListBaseModelsRequest(page_size=page_size)
        return self._transport.pages(self._stub.ListBaseModels, request, "base_models")
