"""Adapters: listing, audits, and downloads that resume and are checked."""

import hashlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from wardtune.errors import (
    DataLossError,
    DeadlineExceededError,
    UnavailableError,
    WardtuneError,
)
from wardtune.transport import Patience, Transport
from wardtune.v1 import adapter_service_pb2 as pb
from wardtune.v1 import adapter_service_pb2_grpc as rpc


class Adapters:
    """The tenant's adapters. Errors: see wardtune.errors."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._stub = rpc.AdapterServiceStub(transport.channel)

    def get(self, name: str) -> pb.Adapter:
        request = pb.GetAdapterRequest(name=name)
        return self._transport.read(self._stub.GetAdapter, request).adapter

    def list(self, *, page_size: int = 0) -> Iterator[pb.Adapter]:
        """Newest first; fetches pages as they are needed."""
        request = pb.ListAdaptersRequest(page_size=page_size)
        return self._transport.pages(self._stub.ListAdapters, request, "adapters")

    def audits(self, name: str, *, page_size: int = 0) -> Iterator[pb.AdapterAudit]:
        """The adapter's audits, newest first; fetches pages as they are needed.

        Each compares a new score with the one at delivery. DRIFTED changes nothing by itself.
        """
        request = pb.ListAdapterAuditsRequest(adapter=name, page_size=page_size)
        return self._transport.pages(self._stub.ListAdapterAudits, request, "audits")

    def download(
        self,
        name: str,
        path: str | os.PathLike[str],
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> Path:
        """Downloads the adapter's tar file and returns where it lies.

        `path` is a file, or a folder in which the file gets the adapter's id as name. The file
        appears under its name only when it is whole and its SHA-256 is right; until then it grows
        beside it as `.<name>.<sha256>.part`, from which a later call goes on. DataLossError when
        the bytes are not the adapter's; then they are deleted.
        """
        adapter = self.get(name)
        target = Path(path)
        if target.is_dir():
            target = target / f"{name.rsplit('/', 1)[-1]}.tar"
        part = target.with_name(f".{target.name}.{adapter.sha256[:16]}.part")
        if part.exists() and part.stat().st_size > adapter.size_bytes:
            part.unlink()
        self._fetch(adapter, part, progress)
        with part.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != adapter.sha256:
            part.unlink()
            raise DataLossError(
                f"{name}: the download's SHA-256 is {digest}, the server names {adapter.sha256}; "
                "download it again"
            )
        part.replace(target)
        return target

    def _fetch(
        self, adapter: pb.Adapter, part: Path, progress: Callable[[int, int], None] | None
    ) -> None:
        patience = Patience(self._transport)
        with part.open("ab") as file:
            while file.tell() < adapter.size_bytes:
                request = pb.DownloadAdapterRequest(name=adapter.name, offset=file.tell())
                ended: WardtuneError = UnavailableError(f"{adapter.name}: the download ended early")
                try:
                    for response in self._transport.receive_stream(
                        self._stub.DownloadAdapter, request
                    ):
                        patience.progressed()
                        file.write(response.chunk)
                        if progress is not None:
                            progress(file.tell(), adapter.size_bytes)
                except (UnavailableError, DeadlineExceededError) as error:
                    ended = error
                if file.tell() >= adapter.size_bytes:
                    break
                patience.wait(ended)
            file.flush()
            os.fsync(file.fileno())


def extract(archive: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Path:
    """Unpacks an adapter's tar file into `folder`, which must be new or empty, and returns it.

    The folder has all files or none: they are written aside first. DataLossError when an entry
    is not a plain file or would land elsewhere; FileExistsError when the folder has files, of an
    adapter before perhaps. (tarfile's own filter is missing in Debian 12's Python.)
    """
    folder = Path(folder)
    require_empty(folder)
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".part-", dir=folder) as part:
            _extract_into(archive, Path(part))
            for entry in Path(part).iterdir():
                entry.rename(folder / entry.name)
    except BaseException:
        if is_new:
            folder.rmdir()
        raise
    return folder


def require_empty(folder: Path) -> None:
    """FileExistsError when there is something else than an empty folder."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder}: is not an empty folder; give another, or empty it first")


def _extract_into(archive: str | os.PathLike[str], folder: Path) -> None:
    with tarfile.open(archive) as tar:
        for member in tar:
            name = PurePosixPath(member.name)
            if member.isdir():
                continue
            if not member.isfile() or name.is_absolute() or ".." in name.parts:
                raise DataLossError(f"{archive}: {member.name!r} is no file of an adapter")
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with tar.extractfile(member) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)
