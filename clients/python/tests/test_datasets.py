import time

import pytest
from scripted_server import KEY, failed_precondition

import wardtune
from wardtune.datasets import CHUNK_BYTES
from wardtune.transport import Patience, Transport
from wardtune.v1 import dataset_service_pb2 as pb


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(bytes(i % 251 for i in range(3 * CHUNK_BYTES + 17)))
    return path


def test_upload_sends_every_byte_and_reports_progress(client, script, rows):
    seen = []
    result = client.datasets.upload(rows, progress=lambda done, total: seen.append((done, total)))
    assert bytes(script.uploaded) == rows.read_bytes()
    assert result.dataset.state == pb.Dataset.STATE_READY
    size = rows.stat().st_size
    assert seen[-1] == (size, size)
    assert len(seen) == 4


def test_broken_upload_goes_on_where_the_server_stopped(client, script, rows):
    script.break_upload_after = [1, 1]
    client.datasets.upload(rows)
    assert bytes(script.uploaded) == rows.read_bytes()
    offsets = [header.offset for header in script.requests["UploadDataset"]]
    assert offsets == [0, CHUNK_BYTES, 2 * CHUNK_BYTES]
    assert len(script.requests["CreateDataset"]) == 1


def test_upload_resumes_in_a_later_process(client, script, rows):
    script.uploaded += rows.read_bytes()[:1000]
    script.dataset.received_bytes = 1000
    client.datasets.upload(rows, resume=script.dataset.name)
    assert bytes(script.uploaded) == rows.read_bytes()
    assert not script.requests["CreateDataset"]


def test_upload_outlasts_a_restart_of_the_server(client, script, rows):
    unavailable = [wardtune.UnavailableError.code]
    script.failures["UploadDataset"] = unavailable * 20
    script.failures["GetDataset"] = unavailable * 20
    client.datasets.upload(rows)
    assert bytes(script.uploaded) == rows.read_bytes()


# The server had not yet noticed that the broken stream was dead, and the upload failed.
def test_upload_waits_for_the_end_of_its_broken_stream(client, script, rows):
    script.break_upload_after = [2]
    script.failures["UploadDataset"] = [None, *[wardtune.AbortedError.code] * 3]
    client.datasets.upload(rows)
    assert bytes(script.uploaded) == rows.read_bytes()


def test_upload_of_another_stream_is_not_waited_for(client, script, rows):
    script.failures["UploadDataset"] = [wardtune.AbortedError.code]
    with pytest.raises(wardtune.AbortedError):
        client.datasets.upload(rows)


# The server finished what it had received between the look and the next stream.
def test_upload_that_ended_meanwhile_is_a_success(client, script, rows):
    def ended():
        script.dataset.state = pb.Dataset.STATE_READY
        return failed_precondition("DATASET_NOT_UPLOADING")

    script.break_upload_after = [4]
    script.failures["UploadDataset"] = [None, ended]
    assert client.datasets.upload(rows).dataset.state == pb.Dataset.STATE_READY


# An upload that had run for longer than the patience was given up at its first failure.
def test_patience_begins_with_the_first_failure(address, script, rows, monkeypatch):
    now = time.monotonic()
    monkeypatch.setattr("wardtune.transport.time.monotonic", lambda: now)
    transport = Transport(address, KEY, sleep=lambda _: None)
    patience = Patience(transport)
    now += 300
    patience.wait(wardtune.UnavailableError("away"))
    now += 300
    with pytest.raises(wardtune.UnavailableError):
        patience.wait(wardtune.UnavailableError("away"))
    transport.close()


def test_upload_gives_up_when_nothing_moves(address, script, rows):
    retry = wardtune.RetryPolicy(first_wait_s=0.001, max_wait_s=0.001, patience_s=0.01)
    script.failures["UploadDataset"] = [wardtune.UnavailableError.code] * 1000
    with (
        wardtune.Client(address, KEY, retry=retry) as client,
        pytest.raises(wardtune.UnavailableError),
    ):
        client.datasets.upload(rows)
    # Waits are 0.5 to 1 ms.
    assert 2 <= len(script.requests["UploadDataset"]) <= 21


def test_upload_goes_on_from_the_bytes_that_the_server_has(client, script, rows):
    script.uploaded += rows.read_bytes()[:1000]
    script.dataset.received_bytes = 1000
    script.lose_bytes_to = 10
    client.datasets.upload(rows, resume=script.dataset.name)
    assert bytes(script.uploaded) == rows.read_bytes()
    assert [header.offset for header in script.requests["UploadDataset"]] == [1000, 10]


def test_upload_says_how_many_bytes_are_to_come(client, script, rows):
    client.datasets.upload(rows)
    client.datasets.validate(rows)
    sizes = [header.size_bytes for header in script.requests["UploadDataset"]]
    assert sizes == [rows.stat().st_size] * 2


def test_acknowledgement_that_got_lost_is_not_an_error(client, script, rows):
    script.failures["UploadDataset"] = [wardtune.UnavailableError.code]
    script.dataset.state = pb.Dataset.STATE_READY
    script.dataset.received_bytes = rows.stat().st_size
    result = client.datasets.upload(rows, resume=script.dataset.name)
    assert result.report.valid_rows == 2


def test_rejected_data_set_is_an_error(client, script, rows):
    script.dataset.state = pb.Dataset.STATE_REJECTED
    with pytest.raises(wardtune.InvalidArgumentError, match="rejected"):
        client.datasets.upload(rows, resume=script.dataset.name)


def test_validate_stores_nothing(client, script, rows):
    assert client.datasets.validate(rows).valid_rows == 2
    (header,) = script.requests["UploadDataset"]
    assert header.validate_only
    assert not script.uploaded
    assert not script.requests["CreateDataset"]
