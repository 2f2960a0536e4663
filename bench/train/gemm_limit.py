"""GFLOP/s of the GEMMs of a training step, as the same LibTorch does them alone.

python gemm_limit.py --out FILE [--dtype bfloat16]

The shapes are those of SmolLM2-135M at 1024 tokens: what a step cannot be faster than.
"""

import argparse
import json
import time
from pathlib import Path

import torch

# (rows, inner, columns) and how often a layer's or the head's forward and backward pass needs it.
SHAPES = [
    ((1024, 576, 960), 30),
    ((1024, 960, 576), 30),
    ((1024, 576, 576), 60),
    ((1024, 576, 3072), 30),
    ((1024, 3072, 576), 30),
    ((1024, 1536, 576), 30),
    ((1024, 576, 1536), 30),
    ((512, 576, 49152), 2),
    ((512, 49152, 576), 2),
]


def seconds_of(shape: tuple[int, int, int], dtype: torch.dtype) -> float:
    rows, inner, columns = shape
    x = torch.randn(rows, inner).to(dtype)
    w = torch.randn(columns, inner).to(dtype)
    times = []
    for _ in range(8):
        started = time.perf_counter()
        torch.mm(x, w.t())
        times.append(time.perf_counter() - started)
    return sorted(times[2:])[3]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dtype", default="bfloat16")
    arguments = parser.parse_args()
    dtype = getattr(torch, arguments.dtype)
    flop = sum(2 * m * k * n * count for (m, k, n), count in SHAPES)
    seconds = sum(seconds_of(shape, dtype) * count for shape, count in SHAPES)
    report = {"gflops": flop / seconds / 1e9, "tokens_per_second": 1024 / seconds}
    arguments.out.write_text(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
