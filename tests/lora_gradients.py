"""The gradients of every LoRA tensor in one fp32 step: the engine's, and how they are compared.

Rows and start adapter come from loss_curve.py's formulas; the rows have different lengths, which
the engine packs and PEFT pads. A recorded reference keeps, for each tensor, its norm, its largest
value and a few evenly spaced ones.
"""

import json
import math
import subprocess
from array import array
from collections.abc import Sequence
from pathlib import Path

import loss_curve

LENGTHS = (64, 48, 57, 33)
SAMPLES = 8
TOLERANCE = 1e-4  # of a tensor's largest value

# Values by tensor name, as in a PEFT adapter's file.
Gradients = dict[str, Sequence[float]]
Summary = dict[str, float | list[float]]


def write_rows(folder: Path) -> Path:
    return loss_curve.write_rows(folder / "gradient_rows.jsonl", LENGTHS)


def engines(build: Path, model: Path, folder: Path) -> Gradients:
    """Those of the engine."""
    out = folder / "gradients.safetensors"
    start = loss_curve.write_start(folder / "start")
    subprocess.run(
        [
            str(build / "tests" / "worker-gradients"),
            f"--model={model}",
            f"--rows={write_rows(folder)}",
            f"--start={start}",
            f"--out={out}",
        ],
        check=True,
        timeout=600,
    )
    return read_safetensors(out)


def read_safetensors(path: Path) -> Gradients:
    """A file of fp32 tensors, flat."""
    data = path.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:begin])
    header.pop("__metadata__", None)
    gradients = {}
    for name, tensor in header.items():
        first, last = tensor["data_offsets"]
        gradients[name] = array("f", data[begin + first : begin + last])
    return gradients


def summary(values: Sequence[float]) -> Summary:
    return {
        "norm": math.sqrt(math.fsum(v * v for v in values)),
        "largest": max(map(abs, values)),
        "samples": [values[i * len(values) // SAMPLES] for i in range(SAMPLES)],
    }


def summary_error(ours: Summary, reference: Summary) -> float:
    """The worst difference, relative to the reference's norm or largest value."""
    norm = abs(ours["norm"] - reference["norm"]) / reference["norm"]
    pairs = zip(ours["samples"], reference["samples"], strict=True)
    return max(norm, max(abs(a - b) for a, b in pairs) / reference["largest"])
