"""The training engine against transformers + PEFT, on this machine, in one run.

    make bench-train [ROUNDS=5]

Programs alternate round by round: ours, then each peer configuration. Writes train.json (ratios and all raw
figures), train.md (a table) and train.svg (a plot) to docs/bench/. A ratio compares medians; the peer's
best configuration counts. Rows are drawn from a fixed seed.
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
BUILD = Path(os.environ["WARDTUNE_BUILD_DIR"]) / "bench"
MODEL = Path(os.environ["WARDTUNE_CACHE_DIR"]) / "models" / "SmolLM2-135M-Instruct"
VOCABULARY = 49152

Report = dict


def write_rows(path: Path, rows: list[tuple[int, int]], seed: int) -> Path:
    """Random ids; a row is (prompt tokens without loss, answer tokens with loss)."""
    rng = random.Random(seed)
    with path.open("w") as file:
        for prompt, answer in rows:
            ids = [rng.randrange(VOCABULARY) for _ in range(prompt + answer)]
            file.write(json.dumps({"ids": ids, "mask": [0] * prompt + [1] * answer}) + "\n")
    return path


def dense_rows(folder: Path) -> Path:
    """Batches of 4 x 256, all tokens supervised."""
    return write_rows(folder / "dense.jsonl", [(0, 256)] * 16, seed=1)


def mixed_rows(folder: Path) -> Path:
    """Chat-like: long-tailed lengths of 24 to 512 tokens, about 60% of them prompt."""
    rng = random.Random(2)
    rows = []
    for _ in range(64):
        length = min(512, max(24, int(rng.lognormvariate(4.6, 0.8))))
        prompt = int(length * rng.uniform(0.4, 0.8))
        rows.append((prompt, length - prompt))
    return write_rows(folder / "mixed.jsonl", rows, seed=3)


def prompt_rows(folder: Path) -> Path:
    rng = random.Random(4)
    return write_rows(
        folder / "prompts.jsonl", [(rng.randint(20, 60), 0) for _ in range(64)], seed=5
    )


class Bench:
    """Runs one program at a time and keeps every report."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self.raw: dict[str, list[Report]] = {}

    def run(self, name: str, *command: object) -> None:
        out = self._work / "report.json"
        out.unlink(missing_ok=True)
        separator = "=" if str(command[0]).startswith(str(BUILD)) else None
        arguments = [f"--out={out}"] if separator else ["--out", str(out)]
        subprocess.run([str(part) for part in command] + arguments, check=True)
        self.keep(name, json.loads(out.read_text()))

    def keep(self, name: str, report: Report) -> None:
        self.raw.setdefault(name, []).append(report)
        speed = report["tokens_per_second"]
        memory = report.get("peak_rss_bytes", 0) / 1e9
        print(f"   {name:24} {speed:8.1f} tokens/s  {memory:5.2f} GB", flush=True)

    def processes(self, name: str, count: int, *command: object) -> None:
        """`count` copies at once; process i gets --first_job=i. Speeds and memory add up."""
        outs = [self._work / f"report-{i}.json" for i in range(count)]
        children = [
            subprocess.Popen([*map(str, command), f"--first_job={i}", f"--out={out}"])
            for i, out in enumerate(outs)
        ]
        if any(child.wait() != 0 for child in children):
            raise RuntimeError(f"{name}: a process failed")
        reports = [json.loads(out.read_text()) for out in outs]
        report = {
            key: sum(report[key] for report in reports)
            for key in ("tokens_per_second", "tokens", "peak_rss_bytes")
        }
        self.keep(name, report)

    def ours(self, name: str, rows: Path, *flags: str) -> None:
        self.run(name, BUILD / "train-bench", f"--model={MODEL}", f"--rows={rows}", *flags)

    def peer(self, name: str, rows: Path, *flags: str) -> None:
        script = HERE / "peft_bench.py"
        self.run(name, sys.executable, script, "--model", MODEL, "--rows", rows, *flags)

    def median(self, name: str, key: str = "tokens_per_second") -> float:
        return statistics.median(report[key] for report in self.raw[name])

    def spread(self, name: str) -> tuple[float, float]:
        speeds = [report["tokens_per_second"] for report in self.raw[name]]
        return min(speeds), max(speeds)


def measure(bench: Bench, work: Path, rounds: int) -> None:
    dense, mixed, prompts = dense_rows(work), mixed_rows(work), prompt_rows(work)
    for number in range(rounds):
        print(f"== Round {number + 1} of {rounds}", flush=True)
        steps = ("--steps=5", "--warmup=2")
        peer_steps = ("--steps", "3", "--warmup", "1")
        bench.ours("ours dense", dense, *steps)
        bench.ours("ours dense, vector on", dense, *steps, "--fold_rank=16")
        bench.peer("peft dense bf16", dense, *peer_steps)
        bench.run("gemm limit", sys.executable, HERE / "gemm_limit.py")
        bench.ours("ours mixed", mixed, "--steps=8", "--warmup=2", "--batch=8")
        for layout in ("padded", "grouped", "packed"):
            flags = ("--batch", "8", "--layout", layout, "--steps", "8", "--warmup", "1")
            bench.peer(f"peft mixed {layout}", mixed, *flags)
        joint = (BUILD / "joint-bench", f"--model={MODEL}", f"--rows={mixed}", "--steps=6")
        bench.run("4 jobs, one process", *joint, "--jobs=4")
        # One thread each: with two, four processes on two cores only wait for each other.
        bench.processes("4 jobs, four processes", 4, *joint, "--jobs=1", "--threads=1")
        bench.run("ours generate", BUILD / "generate-bench", f"--model={MODEL}",
                  f"--prompts={prompts}")  # fmt: skip
        bench.run("transformers generate", sys.executable, HERE / "peer_generate.py",
                  "--model", MODEL, "--prompts", prompts)  # fmt: skip
    # fp32 is no match for bf16 here; one round shows it.
    bench.ours("ours dense fp32", dense, "--steps=2", "--warmup=1", "--dtype=float32")
    bench.peer("peft dense fp32", dense, "--steps", "2", "--warmup", "1", "--dtype", "float32")


def ratios(bench: Bench) -> dict[str, float]:
    def best(prefix: str) -> str:
        return max((n for n in bench.raw if n.startswith(prefix)), key=bench.median)

    dense_peer, mixed_peer = best("peft dense"), best("peft mixed")
    speed = bench.median
    return {
        "dense_ratio": speed("ours dense") / speed(dense_peer),
        "gemm_fraction": speed("ours dense") / speed("gemm limit"),
        "mixed_ratio": speed("ours mixed") / speed(mixed_peer),
        "rss_ratio_dense": speed("ours dense", "peak_rss_bytes")
        / speed("peft dense bf16", "peak_rss_bytes"),
        "rss_ratio_mixed": speed("ours mixed", "peak_rss_bytes")
        / speed(mixed_peer, "peak_rss_bytes"),
        "sv_step_ratio": speed("ours dense") / speed("ours dense, vector on"),
        "multi_job_ratio": speed("4 jobs, one process") / speed("4 jobs, four processes"),
        "multi_job_rss_ratio": speed("4 jobs, one process", "peak_rss_bytes")
        / speed("4 jobs, four processes", "peak_rss_bytes"),
        "generate_ratio": speed("ours generate") / speed("transformers generate"),
    }


GOALS = {
    "dense_ratio": (">=", 2.5),
    "gemm_fraction": (">=", 0.55),
    "mixed_ratio": (">=", 3.5),
    "rss_ratio_dense": ("<=", 0.4),
    "rss_ratio_mixed": ("<=", 0.4),
    "sv_step_ratio": ("<=", 1.02),
    "multi_job_ratio": (">=", 1.3),
    "multi_job_rss_ratio": ("<=", 0.35),
    "generate_ratio": (">=", 3.0),
}


def machine() -> dict[str, object]:
    info = Path("/proc/cpuinfo").read_text()
    model = next(line.split(":")[1].strip() for line in info.splitlines() if "model name" in line)
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "avx512_bf16": "avx512_bf16" in info,
        "kernel": platform.release(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "versions": {name: version(name) for name in ("transformers", "peft")},
    }


def table(bench: Bench, result: dict[str, float], facts: dict[str, object], rounds: int) -> str:
    lines = [
        "# Training engine against transformers + PEFT",
        "",
        f"Made by `make bench-train ROUNDS={rounds}` on {facts['date']}: {facts['cpu']}, {facts['cores']} cores.",
        f"Versions: {facts['versions']}. Medians of {rounds} alternating rounds; raw figures in train.json.",
        "",
        "| program | tokens/s | lowest - highest | peak RSS, GB |",
        "|---|---:|---:|---:|",
    ]
    for name in bench.raw:
        low, high = bench.spread(name)
        memory = bench.raw[name][0].get("peak_rss_bytes")
        shown = f"{bench.median(name, 'peak_rss_bytes') / 1e9:.2f}" if memory else ""
        lines.append(f"| {name} | {bench.median(name):.0f} | {low:.0f} - {high:.0f} | {shown} |")
    lines += ["", "| figure | value | goal | met |", "|---|---:|---:|---|"]
    for key, value in result.items():
        sign, goal = GOALS[key]
        met = value >= goal if sign == ">=" else value <= goal
        lines.append(f"| {key} | {value:.3f} | {sign} {goal} | {'yes' if met else 'no'} |")
    return "\n".join(lines) + "\n"


def plot(bench: Bench) -> str:
    """Bars of tokens/s, as SVG."""
    width, bar = 420.0, 22
    largest = max(bench.median(name) for name in bench.raw)
    parts = []
    for i, name in enumerate(bench.raw):
        speed = bench.median(name)
        colour = "#2b6cb0" if name.startswith("ours") else "#a0aec0"
        y = 10 + i * (bar + 8)
        parts.append(f'<text x="190" y="{y + 15}" text-anchor="end">{name}</text>')
        parts.append(
            f'<rect x="200" y="{y}" width="{speed / largest * width:.1f}" height="{bar}" fill="{colour}"/>'
        )
        parts.append(
            f'<text x="{206 + speed / largest * width:.1f}" y="{y + 15}">{speed:.0f}</text>'
        )
    height = 20 + len(bench.raw) * (bar + 8)
    style = "font-family:sans-serif;font-size:12px"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="700" height="{height}" style="{style}">'
        f'<rect width="700" height="{height}" fill="white"/>{"".join(parts)}</svg>\n'
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs" / "bench")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(arguments.work)
    measure(bench, arguments.work, arguments.rounds)
    result, facts = ratios(bench), machine()
    content = {**result, "machine": facts, "rounds": arguments.rounds, "raw": bench.raw}
    (arguments.out / "train.json").write_text(json.dumps(content, indent=1) + "\n")
    text = table(bench, result, facts, arguments.rounds)
    (arguments.out / "train.md").write_text(text)
    (arguments.out / "train.svg").write_text(plot(bench))
    print(text)


if __name__ == "__main__":
    main()
