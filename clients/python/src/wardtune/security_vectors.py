"""Security vectors and safety suites. For the provider's key alone."""

import time
from collections.abc import Callable, Iterator

from wardtune.errors import DeadlineExceededError, JobFailedError, UnavailableError
from wardtune.transport import Patience, Transport
from wardtune.v1 import security_vector_service_pb2 as pb
from wardtune.v1 import security_vector_service_pb2_grpc as rpc

_POLL_S = 1.0


class SecurityVectors:
    """Security vectors. No method returns weights. Errors: see wardtune.errors."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = rpc.SecurityVectorServiceStub(transport.channel)

    def train(
        self,
        *,
        security_vector_id: str,
        base_model: str,
        harmful_dataset: str,
        general_dataset: str,
        safety_suite: str,
        recipe: pb.SecurityVectorRecipe | None = None,
    ) -> pb.SecurityVectorVersion:
        """Queues the training of a new version. Unset fields of `recipe` get defaults."""
        request = pb.TrainSecurityVectorRequest(
            security_vector_id=security_vector_id,
            base_model=base_model,
            harmful_dataset=harmful_dataset,
            general_dataset=general_dataset,
            safety_suite=safety_suite,
            recipe=recipe,
        )
        return self._transport.mutate(self._stub.TrainSecurityVector, request).version

    def wait(
        self,
        name: str,
        *,
        progress: Callable[[pb.SecurityVectorVersion], None] | None = None,
        timeout_s: float | None = None,
    ) -> pb.SecurityVectorVersion:
        """Blocks until the version is trained and measured, and returns it.

        JobFailedError when its training failed; DeadlineExceededError past `timeout_s`.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        late = DeadlineExceededError(f"{name} was not trained within {timeout_s} s")
        patience = Patience(self._transport)
        while True:
            try:
                version = self.get(name)
            except (UnavailableError, DeadlineExceededError) as error:
                if deadline is not None and time.monotonic() >= deadline:
                    raise late from error
                patience.wait(error)
                continue
            patience.progressed()
            if progress is not None:
                progress(version)
            if version.state == pb.SecurityVectorVersion.STATE_FAILED:
                raise JobFailedError(f"{name} failed: {version.error_message}")
            if version.state != pb.SecurityVectorVersion.STATE_TRAINING:
                return version
            if deadline is not None and time.monotonic() >= deadline:
                raise late
            self._transport.sleep(_POLL_S)

    def get(self, name: str) -> pb.SecurityVectorVersion:
        request = pb.GetSecurityVectorVersionRequest(name=name)
        return self._transport.read(self._stub.GetSecurityVectorVersion, request).version

    def list(self, *, page_size: int = 0) -> Iterator[pb.SecurityVectorVersion]:
        """Newest first; fetches pages as they are needed."""
        request = pb.ListSecurityVectorVersionsRequest(page_size=page_size)
        return self._transport.pages(self._stub.ListSecurityVectorVersions, request, "versions")

    def cancel(self, name: str) -> pb.SecurityVectorVersion:
        """Ends the version's training: FAILED at once, or when its worker has stopped."""
        request = pb.CancelSecurityVectorTrainingRequest(name=name)
        return self._transport.mutate(self._stub.CancelSecurityVectorTraining, request).version

    def activate(self, name: str) -> pb.SecurityVectorVersion:
        """Makes new jobs of the version's base model train with it."""
        request = pb.ActivateSecurityVectorVersionRequest(name=name)
        return self._transport.mutate(self._stub.ActivateSecurityVectorVersion, request).version


class Suites:
    """Safety suites: held-out prompts and the rules that judge the answers."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = rpc.SecurityVectorServiceStub(transport.channel)

    def create(
        self,
        suite_id: str,
        *,
        prompts: bytes,
        rules: bytes,
        general_prompts: bytes,
        judge_adapter: str = "",
    ) -> pb.SafetySuite:
        """`prompts` and `general_prompts` are JSONL, `rules` is JSON; see the contract.

        `judge_adapter` is the provider's adapter that judges, of rules that name a language model.
        """
        request = pb.CreateSafetySuiteRequest(
            suite_id=suite_id,
            prompts_jsonl=prompts,
            rules_json=rules,
            general_prompts_jsonl=general_prompts,
            judge_adapter=judge_adapter,
        )
        return self._transport.mutate(self._stub.CreateSafetySuite, request).suite

    def list(self, *, page_size: int = 0) -> Iterator[pb.SafetySuite]:
        """Newest first; fetches pages as they are needed."""
        request = pb.ListSafetySuitesRequest(page_size=page_size)
        return self._transport.pages(self._stub.ListSafetySuites, request, "suites")
