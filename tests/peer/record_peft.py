"""Records PEFT's fp32 loss curve and gradients for tests/test_loss_curve.py and test_gradients.py.

python tests/peer/record_peft.py      in the peer environment, after `make model`
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from peft_gradients import REPOSITORY, peers

import lora_gradients
import loss_curve

MODEL = Path(os.environ["WARDTUNE_CACHE_DIR"]) / "models" / "SmolLM2-135M-Instruct"
SIGNIFICANT_DIGITS = 8


def losses(folder: Path) -> list[float]:
    rows = loss_curve.write_rows(folder / "rows.jsonl")
    start = loss_curve.write_start(folder / "start")
    report = folder / "report.json"
    script = REPOSITORY / "bench" / "train" / "peft_bench.py"
    flags = loss_curve.peers(MODEL, rows, start, "float32")
    subprocess.run([sys.executable, str(script), *flags, "--out", str(report)], check=True)
    return json.loads(report.read_text())["losses"]


def rounded(value: float | list[float]) -> float | list[float]:
    if isinstance(value, list):
        return [rounded(v) for v in value]
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}")


def gradients(folder: Path) -> dict[str, lora_gradients.Summary]:
    return {
        name: {
            key: rounded(value)
            for key, value in lora_gradients.summary(tensor.flatten().tolist()).items()
        }
        for name, tensor in peers(MODEL, folder).items()
    }


def record(name: str, what: str, values: object) -> None:
    packages = ("torch", "transformers", "peft")
    recorded = {
        "command": "python tests/peer/record_peft.py",
        "versions": {"python": platform.python_version(), **{p: version(p) for p in packages}},
        what: values,
    }
    out = REPOSITORY / "tests" / "testdata" / name
    out.write_text(json.dumps(recorded, indent=1) + "\n")


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        record("peft_losses.json", "losses", losses(Path(name)))
        record("peft_gradients.json", "gradients", gradients(Path(name)))


if __name__ == "__main__":
    main()
