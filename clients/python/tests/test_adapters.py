import io
import tarfile

import pytest
from scripted_server import ADAPTER, KEY

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


def test_a_later_process_goes_on_where_the_first_was_cut_off(client, address, archive, tmp_path):
    unavailable = wardtune.UnavailableError.code
    archive.failures["DownloadAdapter"] = [unavailable] * 1000
    retry = wardtune.RetryPolicy(first_wait_s=0.001, max_wait_s=0.001, patience_s=0.01)
    with (
        wardtune.Client(address, KEY, retry=retry) as hasty,
        pytest.raises(wardtune.UnavailableError),
    ):
        hasty.adapters.download(ADAPTER, tmp_path / "x.tar")
    archive.failures.clear()
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


def write_tar(path, *members):
    with tarfile.open(path, "w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def member(name, **fields):
    info = tarfile.TarInfo(name)
    info.size = 1
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def test_extract_writes_the_files(tmp_path):
    archive = write_tar(tmp_path / "a.tar", member("adapter_config.json"), member("x/README.md"))
    folder = wardtune.extract(archive, tmp_path / "folder")
    assert (folder / "adapter_config.json").read_text() == "x"
    assert (folder / "x/README.md").read_text() == "x"


def test_extract_leaves_nothing_where_it_failed(tmp_path):
    archive = write_tar(tmp_path / "a.tar", member("adapter_config.json"), member("../outside"))
    with pytest.raises(wardtune.DataLossError):
        wardtune.extract(archive, tmp_path / "folder")
    assert list(tmp_path.iterdir()) == [archive]


def test_extract_keeps_an_empty_folder_as_it_is(tmp_path):
    archive = write_tar(tmp_path / "a.tar", member("adapter_config.json"))
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o750)
    before = folder.stat()
    wardtune.extract(archive, folder)
    assert (folder.stat().st_ino, folder.stat().st_mode) == (before.st_ino, before.st_mode)
    assert [path.name for path in folder.iterdir()] == ["adapter_config.json"]


def test_extract_mixes_no_deliveries(tmp_path):
    archive = write_tar(tmp_path / "a.tar", member("adapter_config.json"))
    folder = wardtune.extract(archive, tmp_path / "folder")
    other = write_tar(tmp_path / "b.tar", member("model.safetensors"))
    with pytest.raises(FileExistsError, match="not an empty folder"):
        wardtune.extract(other, folder)
    assert [path.name for path in folder.iterdir()] == ["adapter_config.json"]


@pytest.mark.parametrize(
    "evil",
    [
        member("../outside"),
        member("/tmp/wardtune-outside"),
        member("link", type=tarfile.SYMTYPE, linkname="/etc", size=0),
        member("hard", type=tarfile.LNKTYPE, linkname="/etc/passwd", size=0),
        member("device", type=tarfile.CHRTYPE, size=0),
    ],
    ids=lambda info: info.name,
)
def test_extract_refuses_what_is_no_file_of_its_folder(tmp_path, evil):
    archive = write_tar(tmp_path / "evil.tar", evil)
    with pytest.raises(wardtune.DataLossError, match="no file of an adapter"):
        wardtune.extract(archive, tmp_path / "folder")
    assert list(tmp_path.iterdir()) == [archive]
