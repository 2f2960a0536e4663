"""Finished cells, kept as a line of JSON each: the raw data of the tables, which a later run goes on from.

A line holds the cell, what the program reported, and how it came to be: a digest of everything that went into
the command (see inputs_digest), the commit, the threads, whether the machine had other work, its CPU, the
digests of the vector and of the second judge. A cell counts as done while its digest is that of the command that would measure it now.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from evidence_cells import Cell

# What says where, not what: results, the vector and adapters that earlier flags decide, the machine's folders.
PLACES = ("--out", "--vector", "--more_vectors", "--start", "--save", "--model", "--threads")


@dataclass(frozen=True)
class KeptCell:
    cell: Cell
    result: dict  # as unlearnable-run reported it
    inputs: str
    made: dict  # commit, threads, alone, cpu, vector_sha256, judge_sha256


def content_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def inputs_digest(command: list[str], more: list[Path] = ()) -> str:
    """SHA-256 of a cell's flags, with the contents of the files that they name in the files' place, and of `more`.

    The program's defaults are not in it: after a change of these, delete the lines that they concern.
    """
    digest = hashlib.sha256()
    for argument in command[1:]:
        flag, _, value = argument.partition("=")
        if flag in PLACES:
            continue
        parts = value.split(",")
        contents = [content_digest(Path(part)) if "/" in part else part for part in parts]
        digest.update(f"{flag}={','.join(contents)}\n".encode())
    for path in more:
        digest.update(f"{path.name}={content_digest(path)}\n".encode())
    return digest.hexdigest()


def load(path: Path) -> dict[Cell, KeptCell]:
    """What the file holds; a cell's last line counts. A file that is not there holds nothing."""
    kept = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        entry = json.loads(line)
        cell = Cell(entry["method"], entry["regime"], entry["seed"])
        kept[cell] = KeptCell(cell, entry["result"], entry["inputs"], entry["made"])
    return kept


def save(path: Path, kept: dict[Cell, KeptCell]) -> None:
    lines = [
        json.dumps(
            {"method": k.cell.method, "regime": k.cell.regime, "seed": k.cell.seed}
            | {"inputs": k.inputs, "made": k.made, "result": k.result}
        )
        for k in kept.values()
    ]
    partial = path.with_suffix(".partial")
    partial.write_text("".join(f"{line}\n" for line in lines))
    partial.replace(path)
