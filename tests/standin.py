"""Small sets of the stand-in rows: placeholder harm and a useful task (bench/standin)."""

import json
import sys
from pathlib import Path

from processes import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "bench" / "standin"))

import generate

_FILES = generate.build(seed=0)


def rows(name: str, count: int) -> bytes:
    """The first rows of one of the generator's files, as JSONL."""
    chosen = _FILES[f"{name}.jsonl"][:count]
    assert len(chosen) == count, f"{name} has {len(chosen)} rows"
    return b"".join(json.dumps(row).encode() + b"\n" for row in chosen)


def rules() -> bytes:
    return json.dumps(generate.judge_rules()).encode()


def language_model_rules() -> bytes:
    """Of a judge that is a language model."""
    return json.dumps(generate.RULES).encode()


def write(folder: Path, name: str, count: int) -> Path:
    """A data set file of the first rows."""
    path = folder / f"{name}-{count}.jsonl"
    path.write_bytes(rows(name, count))
    return path
