"""The work folder of the evidence bench: the rows in it, and each cell's command on them."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from evidence_cells import CUSTOMER_FILES, Cell, command, judge_adapter
from evidence_rows import write_derived

REPOSITORY = Path(__file__).resolve().parents[2]


def forget_what_other_rows_made(work: Path, data: Path) -> None:
    """Removes vectors, adapters and the judge that an earlier run in this folder made from other rows."""
    digest = hashlib.sha256()
    for path in sorted(data.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    stamp = work / "rows.sha256"
    if stamp.exists() and stamp.read_text() != digest.hexdigest():
        for made in (*work.glob("vector*.safetensors*"), judge_adapter(work)):
            made.unlink(missing_ok=True)
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


def _program(name: str) -> Path:
    return Path(os.environ["WARDTUNE_BUILD_DIR"]) / "bench" / name


def _model() -> Path:
    return Path(os.environ["WARDTUNE_CACHE_DIR"]) / "models" / "SmolLM2-135M-Instruct"


def make_judge(data: Path, work: Path) -> None:
    """Trains the language-model judge, where the work folder has none."""
    if judge_adapter(work).exists():
        return
    print("== training the language-model judge", flush=True)
    command = [
        _program("judge-bench"),
        f"--model={_model()}",
        f"--judge_rows={data / 'judge_rows.jsonl'}",
        f"--judge_rules={data / 'lm_judge_rules.json'}",
        f"--heldout={data / 'heldout_judge.jsonl'}",
        f"--adapter={judge_adapter(work)}",
        f"--out={work / 'judge.json'}",
    ]
    with (work / "judge.log").open("w") as log:
        subprocess.run(command, stderr=log, check=True)


def command_of(cell: Cell, data: Path, work: Path) -> list[str]:
    return command(cell, _program("unlearnable-run"), _model(), data, work)
