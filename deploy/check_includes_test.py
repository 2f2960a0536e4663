"""Tests of check_includes, on a tree made here and on this repository."""

import pathlib

import pytest

import check_includes


@pytest.mark.parametrize(
    ("room", "include", "reason"),
    [
        ("server", "<torch/torch.h>", "LibTorch"),
        ("storage", "<ATen/ATen.h>", "LibTorch"),
        ("worker", "<sqlite3.h>", "SQLite"),
        ("server", '"sqlite3.h"', "SQLite"),
        ("worker", '"storage/metadata_store.h"', "gRPC alone"),
        ("server", '"worker/model/decoder.h"', "gRPC alone"),
        ("formats", '"storage/blob_store.h"', "below"),
        ("base", '"formats/chat_row.h"', "below"),
    ],
)
def test_a_forbidden_include_is_named(
    tmp_path: pathlib.Path, room: str, include: str, reason: str
) -> None:
    (tmp_path / room / "deep").mkdir(parents=True)
    (tmp_path / room / "deep" / "a.h").write_text(f"// {include}\n#  include {include}\n")
    (found,) = check_includes.violations(tmp_path)
    assert found.startswith(f"{room}/deep/a.h:2: includes ")
    assert reason in found


def test_allowed_includes_pass(tmp_path: pathlib.Path) -> None:
    for room, include in [
        ("storage", "<sqlite3.h>"),
        ("worker", "<torch/torch.h>"),
        ("server", '"storage/metadata_store.h"'),
        ("tests", '"worker/model/decoder.h"'),
    ]:
        (tmp_path / room).mkdir()
        (tmp_path / room / "a.cc").write_text(f"#include {include}\n")
    assert check_includes.violations(tmp_path) == []


def test_this_repository_keeps_the_rules() -> None:
    root = pathlib.Path(check_includes.__file__).resolve().parent.parent
    assert (root / "base").is_dir()
    assert check_includes.violations(root) == []
