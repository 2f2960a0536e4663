import pytest
from scripted_server import ADAPTER, JOB, KEY

import wardtune
from wardtune.v1 import fine_tuning_service_pb2 as pb
from wardtune.v1 import safety_pb2

QUEUED = pb.FineTuningJob.STATE_QUEUED
RUNNING = pb.FineTuningJob.STATE_RUNNING
SUCCEEDED = pb.FineTuningJob.STATE_SUCCEEDED
FAILED = pb.FineTuningJob.STATE_FAILED


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr("wardtune.jobs._QUEUE_POLL_S", 0.001)


@pytest.fixture
def story(script):
    """A job that waits, runs two steps and succeeds."""
    script.jobs = [
        pb.FineTuningJob(name=JOB, state=QUEUED, queue=pb.QueueStatus(position=2)),
        pb.FineTuningJob(name=JOB, state=QUEUED, queue=pb.QueueStatus(position=1)),
        pb.FineTuningJob(name=JOB, state=RUNNING),
        pb.FineTuningJob(name=JOB, state=SUCCEEDED, adapter=ADAPTER),
    ]
    script.events = [
        pb.JobEvent(sequence=1, state=QUEUED),
        pb.JobEvent(sequence=4, state=RUNNING, progress=pb.Progress(step=1, percent=40)),
        pb.JobEvent(sequence=5, state=RUNNING, progress=pb.Progress(step=2, percent=80)),
        pb.JobEvent(sequence=9, state=SUCCEEDED),
    ]
    return script


def test_wait_shows_queue_then_progress_then_the_result(client, story):
    seen = []

    def show(message):
        seen.append((message.state, message.queue.position, message.progress.step))

    story.jobs.insert(0, story.jobs[0])
    job = client.jobs.get(JOB)
    assert job.wait(progress=show).adapter == ADAPTER
    assert seen == [
        (QUEUED, 2, 0),
        (QUEUED, 1, 0),
        (RUNNING, 0, 0),
        (RUNNING, 0, 1),
        (RUNNING, 0, 2),
        (SUCCEEDED, 0, 0),
    ]


def test_failed_job_raises_its_reason(client, script):
    script.jobs = [
        pb.FineTuningJob(name=JOB, state=FAILED, error_code="LOSS_NOT_FINITE", error_message="NaN")
    ]
    with pytest.raises(wardtune.JobFailedError, match="NaN") as caught:
        client.jobs.get(JOB).wait()
    assert caught.value.reason == "LOSS_NOT_FINITE"


def test_broken_watch_loses_and_repeats_no_event(client, story):
    story.break_watch_after = [1, 2]
    assert [event.sequence for event in client.jobs.watch(JOB)] == [1, 4, 5, 9]
    assert [r.after_sequence for r in story.requests["WatchFineTuningJob"]] == [0, 1, 5]


def test_watch_that_a_server_ends_early_is_renewed(client, story):
    story.jobs = [pb.FineTuningJob(name=JOB, state=RUNNING)]
    last = story.events.pop()
    events = client.jobs.watch(JOB)
    assert [next(events).sequence for _ in range(3)] == [1, 4, 5]
    story.events.append(last)
    assert [event.sequence for event in events] == [9]


# Two restarts of the server, hours apart, counted as one outage.
def test_a_quiet_watch_is_no_failure(address, script, story):
    retry = wardtune.RetryPolicy(
        max_attempts=4, first_wait_s=0.04, max_wait_s=0.04, patience_s=0.05
    )
    quiet = wardtune.DeadlineExceededError.code
    away = wardtune.UnavailableError.code
    script.failures["WatchFineTuningJob"] = [away, quiet] * 4
    with wardtune.Client(address, KEY, retry=retry) as client:
        events = list(client.jobs.watch(JOB))
    assert events[-1].state == SUCCEEDED


def test_wait_ends_at_its_time_limit(client, script):
    script.jobs = [pb.FineTuningJob(name=JOB, state=QUEUED)]
    with pytest.raises(wardtune.DeadlineExceededError, match="did not end"):
        client.jobs.get(JOB).wait(timeout_s=0.05)


def test_create_passes_every_setting_on(client, script):
    settings = wardtune.Hyperparameters(epochs=3, lora_rank=4, warmup_ratio=0.0)
    client.jobs.create(dataset="d", base_model="m", hyperparameters=settings, display_name="x")
    (request,) = script.requests["CreateFineTuningJob"]
    assert request.hyperparameters == settings
    assert request.hyperparameters.HasField("warmup_ratio")
    assert (request.dataset, request.base_model, request.display_name) == ("d", "m", "x")
    assert request.request_id


def test_suspicious_lines_are_those_of_the_report(client, script):
    report = safety_pb2.RowScanReport(
        rows=[safety_pb2.SuspiciousRow(line=2), safety_pb2.SuspiciousRow(line=9)]
    )
    script.jobs = [pb.FineTuningJob(name=JOB, state=FAILED, row_scan=report)]
    assert client.jobs.get(JOB).suspicious_lines == [2, 9]
    assert client.jobs.get(JOB).suspicious_categories == {2: [], 9: []}


def test_suspicious_categories_are_those_of_the_rows_parts(client, script):
    parts = [
        safety_pb2.ScannedPart(part=safety_pb2.SecurityVectorPart(categories=categories))
        for categories in (["leak"], ["false", "rude"])
    ]
    rows = [safety_pb2.SuspiciousRow(line=2 + part, part=part) for part in (2, 1, 0)]
    report = safety_pb2.RowScanReport(rows=rows, parts=parts)
    script.jobs = [pb.FineTuningJob(name=JOB, state=FAILED, row_scan=report)]
    found = client.jobs.get(JOB).suspicious_categories
    assert found == {4: ["false", "rude"], 3: ["leak"], 2: []}
