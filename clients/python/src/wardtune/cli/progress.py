"""Progress on standard error: a bar on a terminal, a line per change elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TransferSpeedColumn,
)

from wardtune.v1 import fine_tuning_service_pb2 as jobs_pb
from wardtune.v1 import security_vector_service_pb2 as vectors_pb

_PHASES = {
    jobs_pb.FineTuningJob.PHASE_UNSPECIFIED: "running",
    jobs_pb.FineTuningJob.PHASE_PREPARING: "preparing",
    jobs_pb.FineTuningJob.PHASE_SCANNING_ROWS: "scanning the rows",
    jobs_pb.FineTuningJob.PHASE_SCORING_BASE: "scoring the base",
    jobs_pb.FineTuningJob.PHASE_TRAINING: "training",
    jobs_pb.FineTuningJob.PHASE_SCORING_RESULT: "scoring the result",
    jobs_pb.FineTuningJob.PHASE_EXPORTING: "exporting",
}


def stage(message: jobs_pb.FineTuningJob) -> str:
    """Where a job is, in a word or two: its phase while it runs, else its state."""
    if message.state == jobs_pb.FineTuningJob.STATE_RUNNING:
        return _PHASES.get(message.phase, "running")
    name = jobs_pb.FineTuningJob.State.Name(message.state)
    return name.removeprefix("STATE_").lower().replace("_", " ")


def details(message: jobs_pb.FineTuningJob) -> str:
    """What is worth knowing at this moment: the queue's state, or loss, speed and time left."""
    if message.state == jobs_pb.FineTuningJob.STATE_QUEUED:
        parts = [f"position {message.queue.position}"]
        if message.queue.reason:
            parts.append(message.queue.reason)
        if message.queue.HasField("estimated_wait"):
            parts.append(f"starts in about {_duration(message.queue.estimated_wait)}")
        return ", ".join(parts)
    if message.state in (
        jobs_pb.FineTuningJob.STATE_RUNNING,
        jobs_pb.FineTuningJob.STATE_CANCELLING,
    ):
        return training_details(message.progress)
    return ""


def training_details(progress: jobs_pb.Progress) -> str:
    parts = []
    if progress.total_steps:
        parts.append(f"step {progress.step}/{progress.total_steps}")
    if progress.step:
        parts.append(f"loss {progress.loss:.4f}")
    if progress.tokens_per_second:
        parts.append(f"{progress.tokens_per_second:.0f} tokens/s")
    if progress.HasField("remaining"):
        parts.append(f"{_duration(progress.remaining)} left")
    return ", ".join(parts)


@contextmanager
def job_progress() -> Iterator[Callable[[jobs_pb.FineTuningJob], None]]:
    """Yields the function that shows a job's newest state."""
    with _percent_bar() as show:
        yield lambda message: show(stage(message), job_percent(message), details(message))


def job_percent(message: jobs_pb.FineTuningJob) -> float:
    if message.state == jobs_pb.FineTuningJob.STATE_SUCCEEDED:
        return 100.0
    return message.progress.percent


@contextmanager
def vector_progress() -> Iterator[Callable[[vectors_pb.SecurityVectorVersion], None]]:
    """Yields the function that shows a security vector's newest state."""
    with _percent_bar() as show:

        def show_version(version: vectors_pb.SecurityVectorVersion) -> None:
            name = vectors_pb.SecurityVectorVersion.State.Name(version.state)
            word = name.removeprefix("STATE_").lower()
            training = version.state == vectors_pb.SecurityVectorVersion.STATE_TRAINING
            percent = version.progress.percent if training else 100.0
            show(word, percent, training_details(version.progress) if training else "")

        yield show_version


@contextmanager
def byte_progress(verb: str) -> Iterator[Callable[[int, int], None]]:
    """Yields the function that shows bytes done of bytes in all."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done, total: None
        return
    columns = (TextColumn(verb), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(verb, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def _percent_bar() -> Iterator[Callable[[str, float, str], None]]:
    console = Console(stderr=True)
    if not console.is_terminal:
        last = ""

        def show_line(word: str, percent: float, text: str) -> None:
            nonlocal last
            line = f"{word} {percent:.0f}%" + (f"  {text}" if text else "")
            if line != last:
                console.print(line, highlight=False, soft_wrap=True)
                last = line

        yield show_line
        return
    columns = (
        TextColumn("{task.description:<19}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[text]}", style="dim"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", total=100, text="")
        yield lambda word, percent, text: bar.update(
            task, description=word, completed=percent, text=text
        )


def _duration(duration: Duration) -> str:
    return str(timedelta(seconds=duration.seconds))
