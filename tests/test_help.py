"""What an operator sees first: the flags of both programs."""

import os
import subprocess
from pathlib import Path

import pytest

BUILD = Path(os.environ.get("WARDTUNE_BUILD_DIR", "build/release"))


# The worker's --help said "No flags matched".
@pytest.mark.parametrize(
    ("program", "flags"),
    [
        ("server/wardtune-server", ["--data-dir", "--max-epochs", "--lease"]),
        ("worker/wardtune-worker", ["--server", "--sv_key_file", "--jobs_at_once"]),
    ],
)
def test_help_lists_the_programs_flags(program: str, flags: list[str]) -> None:
    shown = subprocess.run([BUILD / program, "--help"], capture_output=True, text=True, check=False)
    text = shown.stdout + shown.stderr
    for flag in flags:
        assert flag in text
    assert "--flagfile" not in text, "a library's flags"
    assert "/worker_flags" not in text.replace(" worker/worker_flags.cc", ""), "the build's folder"
