"""The engine's loss curve against PEFT's as recorded; tests/peer compares with a live PEFT."""

import json
import subprocess
from pathlib import Path

import loss_curve
from processes import build_folder, models_folder

BUILD = build_folder()
MODEL = models_folder() / "SmolLM2-135M-Instruct"
RECORDED = Path(__file__).parent / "testdata" / "peft_losses.json"


def test_fp32_losses_equal_the_recorded_ones_of_peft(tmp_path: Path) -> None:
    rows = loss_curve.write_rows(tmp_path / "rows.jsonl")
    start = loss_curve.write_start(tmp_path / "start")
    report = tmp_path / "report.json"
    flags = loss_curve.ours(MODEL, rows, start, "float32")
    program = BUILD / "bench" / "train-bench"
    subprocess.run([str(program), *flags, f"--out={report}"], check=True, timeout=600)
    losses = json.loads(report.read_text())["losses"]
    recorded = json.loads(RECORDED.read_text())["losses"]
    assert len(losses) == len(recorded) == loss_curve.STEPS
    worst = max(abs(a - b) / b for a, b in zip(losses, recorded, strict=True))
    assert worst <= 1e-3
