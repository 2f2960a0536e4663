"""What TRL trains on in the training bench: the loss that PEFT has on the same rows, unpacked."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

import loss_curve  # noqa: E402

MODEL = Path(os.environ["WARDTUNE_CACHE_DIR"]) / "models" / "SmolLM2-135M-Instruct"
# Four rows a block, two blocks a step: neither may change the loss of a step over all rows.
ROWS = 8
FLAGS = {
    "peft_bench.py": ["--batch", str(ROWS), "--steps", "1", "--warmup", "0"],
    "trl_bench.py": ["--max-length", str(4 * loss_curve.ROW_TOKENS), "--accumulate", "2"],
}


def first_loss(script: str, rows: Path, folder: Path) -> float:
    """Before the first step B is zero, so the loss is the base model's and no seed matters."""
    out = folder / f"{script}.json"
    program = [sys.executable, str(REPOSITORY / "bench" / "train" / script)]
    arguments = ["--model", str(MODEL), "--rows", str(rows), "--out", str(out)]
    arguments += ["--dtype", "float32", *FLAGS[script]]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    subprocess.run([*program, *arguments], check=True, timeout=600, env=environment)
    return json.loads(out.read_text())["losses"][0]


def test_packed_rows_do_not_see_each_other_and_prompts_carry_no_loss(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    lines = loss_curve.write_rows(rows).read_text().splitlines(keepends=True)
    rows.write_text("".join(lines[:ROWS]))
    expected = first_loss("peft_bench.py", rows, tmp_path)
    assert first_loss("trl_bench.py", rows, tmp_path) == pytest.approx(expected, rel=1e-4)
