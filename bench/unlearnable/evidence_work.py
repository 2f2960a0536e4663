"""The work folder of the evidence bench: the rows in it, and each cell's command on them."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from evidence_cells import CUSTOMER_FILES, Cell, command
from evidence_rows import write_derived

REPOSITORY = Path(__file__).resolve().parents[2]


def forget_what_other_rows_made(work: Path, data: Path) -> None:
    """Removes vectors and adapters that an earlier run in this folder made from other rows."""
    digest = hashlib.sha256()
    for path in sorted(data.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    stamp = work / "rows.sha256"
    if stamp.exists() and stamp.read_text() != digest.hexdigest():
        for vector in work.glob("vector*.safetensors"):
            vector.unlink()
        shutil.rmtree(work / "adapters")
        (work / "adapters").mkdir()
    stamp.write_text(digest.hexdigest())


def make_rows(work: Path) -> Path:
    """The folder of all rows, in the work folder; what other rows made is removed there."""
    data = work / "standin"
    (work / "adapters").mkdir(parents=True, exist_ok=True)
    generator = REPOSITORY / "bench" / "standin" / "generate.py"
    subprocess.run([sys.executable, generator, "--out", data], check=True)
    write_derived(data, CUSTOMER_FILES)
    forget_what_other_rows_made(work, data)
    return data


def command_of(cell: Cell, data: Path, work: Path) -> list[str]:
    program = Path(os.environ["WARDTUNE_BUILD_DIR"]) / "bench" / "unlearnable-run"
    model = Path(os.environ["WARDTUNE_CACHE_DIR"]) / "models" / "SmolLM2-135M-Instruct"
    return command(cell, program, model, data, work)
