"""Fine-tuning jobs: create, follow to the end, cancel."""

import time
from collections.abc import Callable, Iterator

from wardtune.errors import DeadlineExceededError, JobFailedError, UnavailableError
from wardtune.transport import Patience, Transport
from wardtune.v1 import fine_tuning_service_pb2 as pb
from wardtune.v1 import fine_tuning_service_pb2_grpc as rpc

FINAL_STATES = frozenset(
    {
        pb.FineTuningJob.STATE_SUCCEEDED,
        pb.FineTuningJob.STATE_FAILED,
        pb.FineTuningJob.STATE_CANCELLED,
    }
)

# How often a queued job's place is asked for; events tell only what a worker does.
_QUEUE_POLL_S = 1.0
# A watch is renewed after this long, so that a connection that died unnoticed does not hang it.
_WATCH_TIMEOUT_S = 120.0


class Job:
    """A job as the server last showed it; `message` has every field."""

    def __init__(self, jobs: "Jobs", message: pb.FineTuningJob) -> None:
        self._jobs = jobs
        self.message = message

    @property
    def name(self) -> str:
        return self.message.name

    @property
    def adapter(self) -> str:
        """Name of the result; empty until the job has succeeded."""
        return self.message.adapter

    @property
    def suspicious_lines(self) -> list[int]:
        """Lines of the data set that look like the security vector's behaviour, the first 1000.

        `message.row_scan` has counts, shares and what was done about them. Empty until the rows are
        scanned, in lists, and where the provider hides lines.
        """
        return [row.line for row in self.message.row_scan.rows]

    @property
    def suspicious_categories(self) -> dict[int, list[str]]:
        """For each of `suspicious_lines` the categories of harm that the row looks like.

        One where the security vector has a part of its own for it. Several mean that the row may be
        of any of them: one part covers them all. None: no part stands out.
        """
        report = self.message.row_scan
        return {
            row.line: list(report.parts[row.part - 1].part.categories) if row.part else []
            for row in report.rows
        }

    @property
    def done(self) -> bool:
        return self.message.state in FINAL_STATES

    def refresh(self) -> "Job":
        self.message = self._jobs.get(self.name).message
        return self

    def cancel(self) -> "Job":
        self.message = self._jobs.cancel(self.name).message
        return self

    def wait(
        self,
        *,
        progress: bool | Callable[[pb.FineTuningJob], None] = False,
        timeout_s: float | None = None,
    ) -> "Job":
        """Blocks until the job has ended and returns it, SUCCEEDED.

        `progress=True` draws a bar on standard error; a function is called with every new state.
        JobFailedError when the job failed or was cancelled; DeadlineExceededError past `timeout_s`,
        the job going on.
        """
        if progress is True:
            from wardtune.cli.progress import job_progress

            with job_progress() as show:
                self._follow(show, timeout_s)
        else:
            self._follow(progress or (lambda message: None), timeout_s)
        if self.message.state != pb.FineTuningJob.STATE_SUCCEEDED:
            raise JobFailedError(failure_text(self.message), reason=self.message.error_code)
        return self

    def _follow(self, show: Callable[[pb.FineTuningJob], None], timeout_s: float | None) -> None:
        for message in self._jobs.follow(self.name, timeout_s=timeout_s):
            self.message = message
            show(message)


class Jobs:
    """The tenant's jobs. Errors: see wardtune.errors."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = rpc.FineTuningServiceStub(transport.channel)

    def create(
        self,
        *,
        dataset: str,
        base_model: str,
        start_adapter: str = "",
        hyperparameters: pb.Hyperparameters | None = None,
        display_name: str = "",
        request_id: str = "",
        validate_only: bool = False,
    ) -> Job:
        """Queues a job, or with `validate_only` only checks and estimates it.

        Fields of `hyperparameters` that are not set get the server's defaults. `start_adapter`
        names an adapter of an earlier job to train on from; LoRA's rank, alpha and modules are then
        that adapter's.
        """
        request = pb.CreateFineTuningJobRequest(
            dataset=dataset,
            base_model=base_model,
            start_adapter=start_adapter,
            hyperparameters=hyperparameters,
            display_name=display_name,
            request_id=request_id,
            validate_only=validate_only,
        )
        response = self._transport.mutate(self._stub.CreateFineTuningJob, request)
        return Job(self, response.job)

    def get(self, name: str) -> Job:
        request = pb.GetFineTuningJobRequest(name=name)
        return Job(self, self._transport.read(self._stub.GetFineTuningJob, request).job)

    def list(
        self,
        *,
        state: pb.FineTuningJob.State = pb.FineTuningJob.STATE_UNSPECIFIED,
        page_size: int = 0,
    ) -> Iterator[Job]:
        """Newest first; fetches pages as they are needed."""
        request = pb.ListFineTuningJobsRequest(state=state, page_size=page_size)
        for message in self._transport.pages(self._stub.ListFineTuningJobs, request, "jobs"):
            yield Job(self, message)

    def cancel(self, name: str) -> Job:
        request = pb.CancelFineTuningJobRequest(name=name)
        return Job(self, self._transport.mutate(self._stub.CancelFineTuningJob, request).job)

    def watch(
        self, name: str, *, after_sequence: int = 0, timeout_s: float | None = None
    ) -> Iterator[pb.JobEvent]:
        """Yields the job's events, each once and in order, and ends with the job.

        A broken stream is taken up after the last event. DeadlineExceededError past `timeout_s`.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        patience = Patience(self._transport)
        while True:
            remaining = _WATCH_TIMEOUT_S
            if deadline is not None:
                remaining = min(remaining, deadline - time.monotonic())
                if remaining <= 0:
                    raise DeadlineExceededError(f"{name} did not end within {timeout_s:g} s")
            request = pb.WatchFineTuningJobRequest(name=name, after_sequence=after_sequence)
            try:
                for response in self._transport.receive_stream(
                    self._stub.WatchFineTuningJob, request, timeout_s=remaining
                ):
                    patience.progressed()
                    after_sequence = response.event.sequence
                    yield response.event
                    if response.event.state in FINAL_STATES:
                        return
                if self.get(name).done:
                    return
                ended = UnavailableError(f"the server ended the watch of {name}")
            except DeadlineExceededError:
                patience.progressed()  # a quiet watch that lasted is no failure
                continue
            except UnavailableError as error:
                ended = error
            patience.wait(ended)

    def follow(self, name: str, *, timeout_s: float | None = None) -> Iterator[pb.FineTuningJob]:
        """Yields the job each time that something in it changed, the ended job last.

        While it is queued that is its place in the queue, then phase and progress.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        sequence = 0
        patience = Patience(self._transport)
        while True:
            try:
                message = self.get(name).message
            except UnavailableError as error:
                patience.wait(error)
                continue
            patience.progressed()
            yield message
            if message.state in FINAL_STATES:
                return
            remaining = None if deadline is None else deadline - time.monotonic()
            if remaining is not None and remaining <= 0:
                raise DeadlineExceededError(f"{name} did not end within {timeout_s:g} s")
            if message.state == pb.FineTuningJob.STATE_QUEUED:
                self._transport.sleep(_QUEUE_POLL_S)
                continue
            for event in self.watch(name, after_sequence=sequence, timeout_s=remaining):
                sequence = event.sequence
                if event.state == pb.FineTuningJob.STATE_QUEUED:
                    continue
                message.state = event.state
                message.phase = event.phase
                if event.HasField("progress"):
                    message.progress.CopyFrom(event.progress)
                if event.state not in FINAL_STATES:
                    yield message


def failure_text(message: pb.FineTuningJob) -> str:
    """One line that says how a job ended without a result."""
    if message.state == pb.FineTuningJob.STATE_CANCELLED:
        return f"{message.name} was cancelled"
    return f"{message.name} failed: {message.error_code}: {message.error_message}"
