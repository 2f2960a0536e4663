import io
import tarfile

import pytest
from scripted_server import ADAPTER

import wardtune


@pytest.fixture
def archive(script):
    script.archive = bytes(i % 251 for i in range(5500))
    return script


def test_download_is_whole_and_leaves_nothing_beside_it(client, archive, tmp_path):
    path = client.adapters.download(ADAPTER, tmp_path)
    assert path == tmp_path / "a1.tar"
    assert path.read_bytes() == archive.archive
    assert list(tmp_path.iterdir()) == [path]


def test_broken_download_goes_on_at_its_offset(client, archive, tmp_path):
    archive.break_download_after = [2, 1]
    path = client.adapters.download(ADAPTER, tmp_path / "x.tar")
    assert path.read_bytes() == archive.archive
    assert [r.offset for r in archive.requests["DownloadAdapter"]] == [0, 2000, 3000]


def test_a_later_process_goes_on_where_the_first_was_cut_off(client, archive, tmp_path):
    unavailable = wardtune.UnavailableError.code
    archive.failures["DownloadAdapter"] = [unavailable] * 4
    with pytest.raises(wardtune.UnavailableError):
        client.adapters.download(ADAPTER, tmp_path / "x.tar")
    assert not (tmp_path / "x.tar").exists()
    (part,) = tmp_path.iterdir()
    part.write_bytes(archive.archive[:3000])
    path = client.adapters.download(ADAPTER, tmp_path / "x.tar")
    assert archive.requests["DownloadAdapter"][-1].offset == 3000
    assert path.read_bytes() == archive.archive


def test_altered_bytes_never_get_the_name(client, archive, tmp_path):
    archive.corrupt = True
    with pytest.raises(wardtune.DataLossError, match="SHA-256"):
        client.adapters.download(ADAPTER, tmp_path / "x.tar")
    assert list(tmp_path.iterdir()) == []


def test_extract_refuses_to_leave_its_folder(tmp_path):
    archive = tmp_path / "evil.tar"
    with tarfile.open(archive, "w") as tar:
        info = tarfile.TarInfo("../outside")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(tarfile.OutsideDestinationError):
        wardtune.extract(archive, tmp_path / "folder")
    assert not (tmp_path / "outside").exists()
