"""Records PEFT's fp32 loss curve for tests/test_loss_curve.py.

python tests/peer/record_losses.py      in the peer environment, after `make model`
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

import loss_curve  # noqa: E402

MODEL = Path(os.environ["WARDTUNE_CACHE_DIR"]) / "models" / "SmolLM2-135M-Instruct"


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = loss_curve.write_rows(folder / "rows.jsonl")
        start = loss_curve.write_start(folder / "start")
        report = folder / "report.json"
        script = REPOSITORY / "bench" / "train" / "peft_bench.py"
        flags = loss_curve.peers(MODEL, rows, start, "float32")
        subprocess.run([sys.executable, str(script), *flags, "--out", str(report)], check=True)
        losses = json.loads(report.read_text())["losses"]
    packages = ("torch", "transformers", "peft")
    recorded = {
        "command": "python tests/peer/record_losses.py",
        "versions": {"python": platform.python_version(), **{p: version(p) for p in packages}},
        "losses": losses,
    }
    out = REPOSITORY / "tests" / "testdata" / "peft_losses.json"
    out.write_text(json.dumps(recorded, indent=1) + "\n")


if __name__ == "__main__":
    main()
