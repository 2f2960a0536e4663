"""Data sets: upload, validation, listing."""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wardtune.errors import (
    AbortedError,
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
    UnavailableError,
)
from wardtune.transport import Patience, Transport
from wardtune.v1 import dataset_service_pb2 as pb
from wardtune.v1 import dataset_service_pb2_grpc as rpc

CHUNK_BYTES = 256 << 10

# Called with the bytes done and the bytes in all, from a thread of gRPC's.
ByteProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class UploadResult:
    """A data set that is ready, and what validation found in it."""

    dataset: pb.Dataset
    report: pb.ValidationReport


class Datasets:
    """The tenant's data sets. Errors: see wardtune.errors."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = rpc.DatasetServiceStub(transport.channel)

    def upload(
        self,
        path: str | os.PathLike[str],
        *,
        display_name: str = "",
        progress: ByteProgress | None = None,
        resume: str = "",
    ) -> UploadResult:
        """Uploads a JSONL file and returns once the server has it on disk and found it valid.

        A broken connection is taken up where the server's bytes end. `resume` names a data set
        whose upload an earlier process did not finish. InvalidArgumentError names the lines at
        fault; then the server has kept no bytes.
        """
        path = Path(path)
        digest = _sha256(path)
        dataset = self.get(resume) if resume else self.create(display_name or path.name)
        return self._send(dataset, path, digest, progress)

    def create(self, display_name: str = "") -> pb.Dataset:
        """Registers an empty data set."""
        request = pb.CreateDatasetRequest(display_name=display_name)
        return self._transport.mutate(self._stub.CreateDataset, request).dataset

    def validate(
        self, path: str | os.PathLike[str], *, progress: ByteProgress | None = None
    ) -> pb.ValidationReport:
        """Checks a file on the server and stores nothing; the report lists what is wrong."""
        path = Path(path)
        header = pb.UploadDatasetRequest.Header(validate_only=True, size_bytes=path.stat().st_size)
        patience = Patience(self._transport)
        while True:
            try:
                requests = _requests(header, path, progress)
                return self._transport.send_stream(self._stub.UploadDataset, requests).report
            except UnavailableError as error:
                patience.wait(error)

    def get(self, name: str) -> pb.Dataset:
        request = pb.GetDatasetRequest(name=name)
        return self._transport.read(self._stub.GetDataset, request).dataset

    def list(self, *, page_size: int = 0) -> Iterator[pb.Dataset]:
        """Newest first; fetches pages as they are needed."""
        request = pb.ListDatasetsRequest(page_size=page_size)
        return self._transport.pages(self._stub.ListDatasets, request, "datasets")

    def delete(self, name: str, *, etag: str = "") -> None:
        request = pb.DeleteDatasetRequest(name=name, etag=etag)
        self._transport.mutate(self._stub.DeleteDataset, request)

    def validation_report(self, name: str) -> pb.ValidationReport:
        request = pb.GetValidationReportRequest(name=name)
        return self._transport.read(self._stub.GetValidationReport, request).report

    def _send(
        self, dataset: pb.Dataset, path: Path, digest: str, progress: ByteProgress | None
    ) -> UploadResult:
        patience = Patience(self._transport)
        # The server may not yet have noticed that the stream before is dead, or be at its end.
        broken = dataset.received_bytes > 0
        while True:
            if dataset.state != pb.Dataset.STATE_UPLOADING:
                return self._finished(dataset)
            header = pb.UploadDatasetRequest.Header(
                name=dataset.name,
                offset=dataset.received_bytes,
                sha256=digest,
                size_bytes=path.stat().st_size,
            )
            try:
                requests = _requests(header, path, progress)
                response = self._transport.send_stream(self._stub.UploadDataset, requests)
                return UploadResult(response.dataset, response.report)
            except AbortedError as error:
                if not broken:
                    raise
                patience.wait(error)
            except FailedPreconditionError as error:
                # The server has more or fewer bytes than it had, as after a restart, or all.
                ended = broken and error.reason == "DATASET_NOT_UPLOADING"
                if error.reason != "OFFSET_MISMATCH" and not ended:
                    raise
                patience.wait(error)
            except (UnavailableError, DeadlineExceededError) as error:
                broken = True
                patience.wait(error)
            before = dataset.received_bytes
            dataset = self._get_patiently(dataset.name, patience)
            if dataset.received_bytes > before:
                patience.progressed()

    def _get_patiently(self, name: str, patience: Patience) -> pb.Dataset:
        while True:
            try:
                return self.get(name)
            except UnavailableError as error:
                patience.wait(error)

    def _finished(self, dataset: pb.Dataset) -> UploadResult:
        report = self.validation_report(dataset.name)
        if dataset.state == pb.Dataset.STATE_REJECTED:
            raise InvalidArgumentError(
                f"{dataset.name} was rejected: {report.error_count} errors; "
                "correct the file and upload it anew"
            )
        return UploadResult(dataset, report)


def _requests(
    header: pb.UploadDatasetRequest.Header, path: Path, progress: ByteProgress | None
) -> Iterator[pb.UploadDatasetRequest]:
    yield pb.UploadDatasetRequest(header=header)
    with path.open("rb") as file:
        total = os.fstat(file.fileno()).st_size
        done = file.seek(header.offset)
        while chunk := file.read(CHUNK_BYTES):
            yield pb.UploadDatasetRequest(chunk=chunk)
            done += len(chunk)
            if progress is not None:
                progress(done, total)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
