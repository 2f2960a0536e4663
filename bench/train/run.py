"""The training engine against transformers with PEFT and with TRL, on this machine, in one run.

    make bench-train [ROUNDS=5] [ONLY='ours dense,peft dense*' OUT=FOLDER]

Programs alternate round by round: ours, then each peer configuration. Writes train.json (ratios and all raw
figures), train.md (tables), train.svg and cost_curve.svg (plots) to docs/bench/. A ratio compares medians; the
peer's best configuration counts. An interrupted run goes on after its last round.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import curve
import report
import rows
from programs import BUILD, HERE, MODEL, Bench

REPOSITORY = HERE.parents[1]


def measure_against_peers(bench: Bench, kind: str, file: Path) -> None:
    """Each program takes the same rows: four steps of eight, after one step of warm-up. TRL packs them in an order
    of its own."""
    bench.ours(f"ours {kind}", file, "--steps=4", "--warmup=1", "--batch=8")
    for layout in ("padded", "grouped", "packed"):
        flags = ("--batch", "8", "--layout", layout, "--steps", "4", "--warmup", "1")
        bench.peft(f"peft {kind} {layout}", file, *flags)
    bench.trl(f"trl {kind} packed", file, "--warmup", "1")


def measure_round(bench: Bench, work: Path) -> None:
    dense, mixed, prompts = work / "dense.jsonl", work / "mixed.jsonl", work / "prompts.jsonl"
    steps = ("--steps=5", "--warmup=2")
    bench.ours("ours dense", dense, *steps)
    in_turn = ("--steps=8", "--warmup=2", "--fold_rank=16", "--in_turn")
    bench.ours("ours dense, vector on", dense, *in_turn)
    bench.peft("peft dense bf16", dense, "--steps", "3", "--warmup", "1")
    # Compiling, which these steps do not count, takes a minute and pays after a few dozen steps.
    compiled = ("--steps", "4", "--warmup", "2", "--compile")
    bench.peft("peft dense bf16 compiled", dense, *compiled)
    bench.run("gemm limit", sys.executable, HERE / "gemm_limit.py")
    measure_against_peers(bench, "mixed", mixed)
    # Its second step compiles anew, for any length.
    compiled = ("--steps", "4", "--warmup", "4", "--compile")
    bench.peft("peft mixed packed compiled", mixed, "--batch", "8", "--layout", "packed", *compiled)
    chat = work / "chat.jsonl"
    measure_against_peers(bench, "chat", chat)
    flags = ("--steps=4", "--warmup=1", "--batch=8", "--share_prefixes=false")
    bench.ours("ours chat, nothing shared", chat, *flags)
    joint = (BUILD / "joint-bench", f"--model={MODEL}", f"--rows={mixed}", "--steps=4")
    bench.run("4 jobs, one process", *joint, "--jobs=4")
    # One thread each: with two, four processes on two cores only wait for each other.
    bench.processes("4 jobs, four processes", 4, *joint, "--jobs=1", "--threads=1")
    bench.run("ours generate", BUILD / "generate-bench", f"--model={MODEL}", f"--prompts={prompts}")
    peer = (sys.executable, HERE / "peer_generate.py", "--model", MODEL, "--prompts", prompts)
    for batch in (64, 128):  # the best of both counts
        bench.run(f"transformers generate {batch}", *peer, "--batch", batch)


def measure(bench: Bench, work: Path, rounds: int) -> int:
    """Does the rounds that are still to be done, and returns how many there are of all.

    Each is saved, so that an interrupted run goes on.
    """
    saved = work / "rounds.json"
    if saved.exists():
        bench.take_up(saved)
    done = min((len(reports) for reports in bench.raw.values()), default=0)
    for number in range(done, rounds):
        print(f"== Round {number + 1} of {rounds}", flush=True)
        measure_round(bench, work)
        bench.save(saved)
    return max(done, rounds)


def measure_fp32(bench: Bench, work: Path) -> None:
    """fp32 is no match for bf16 here; one round shows it."""
    steps = ("--steps", "2", "--warmup", "1", "--dtype", "float32")
    bench.peft("peft dense fp32", work / "dense.jsonl", *steps)
    own_steps = ("--steps=2", "--warmup=1", "--dtype=float32")
    bench.ours("ours dense fp32", work / "dense.jsonl", *own_steps)


def step_ratio(reports: list[dict]) -> float:
    """A step with the vector folded in against the step on the plain model beside it: the median of all pairs."""
    pairs = [
        with_vector / plain
        for report in reports
        for with_vector, plain in zip(
            report["step_seconds"], report["plain_step_seconds"], strict=True
        )
    ]
    return statistics.median(pairs)


@dataclass(frozen=True)
class Figure:
    """A ratio of two programs' medians; None where one of them was not measured."""

    ours: str
    peers: tuple[str, ...]  # by what their names begin with; the fastest counts
    key: str = "tokens_per_second"

    def of(self, bench: Bench) -> float | None:
        peers = [name for name in bench.raw if name.startswith(self.peers)]
        if self.ours not in bench.raw or not peers:
            return None
        peer = max(peers, key=bench.median)
        return bench.median(self.ours, self.key) / bench.median(peer, self.key)


MEMORY = "peak_rss_bytes"
FIGURES = {
    "dense_ratio": Figure("ours dense", ("peft dense",)),
    "gemm_fraction": Figure("ours dense", ("gemm limit",)),
    "mixed_ratio": Figure("ours mixed", ("peft mixed", "trl mixed")),
    "chat_ratio": Figure("ours chat", ("peft chat", "trl chat")),
    # Memory is set against PEFT's fastest; TRL's, which takes less, is in the table.
    "rss_ratio_dense": Figure("ours dense", ("peft dense",), MEMORY),
    "rss_ratio_mixed": Figure("ours mixed", ("peft mixed",), MEMORY),
    "multi_job_ratio": Figure("4 jobs, one process", ("4 jobs, four processes",)),
    "multi_job_rss_ratio": Figure("4 jobs, one process", ("4 jobs, four processes",), MEMORY),
    "generate_ratio": Figure("ours generate", ("transformers generate",)),
}


def ratios(bench: Bench) -> dict[str, float]:
    found = {name: figure.of(bench) for name, figure in FIGURES.items()}
    if "ours dense, vector on" in bench.raw:
        found["sv_step_ratio"] = step_ratio(bench.raw["ours dense, vector on"])
    return {name: ratio for name, ratio in found.items() if ratio is not None}


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

    def field(name: str) -> str:
        return next(line.split(":")[1].strip() for line in info.splitlines() if name in line)

    git = ["git", "-C", REPOSITORY, "describe", "--always", "--dirty"]
    return {
        "commit": subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip(),
        "cpu": f"{field('model name')} (family {field('cpu family')})",
        "cores": os.cpu_count(),
        "avx512_bf16": "avx512_bf16" in info,
        "kernel": platform.release(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "versions": {name: version(name) for name in ("torch", "transformers", "peft", "trl")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs" / "bench")
    parser.add_argument("--only", default="*", help="patterns of the programs' names")
    arguments = parser.parse_args()
    work = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    standin = work / "standin"
    generator = REPOSITORY / "bench" / "standin" / "generate.py"
    subprocess.run([sys.executable, generator, "--out", standin], check=True)
    rows.dense_rows(work)
    rows.mixed_rows(work)
    rows.chat_rows(work / "chat.jsonl", MODEL, standin)
    rows.chat_prompts(work / "prompts.jsonl", MODEL, standin)

    bench = Bench(work, arguments.only.split(","))
    rounds = measure(bench, work, arguments.rounds)
    measure_fp32(bench, work)
    points = curve.measure(bench, work) if arguments.only == "*" else []
    result, facts = ratios(bench), machine()
    content = {
        **result,
        "machine": facts,
        "rounds": rounds,
        "only": arguments.only,
        "raw": bench.raw,
        "curve": [asdict(point) for point in points],
    }
    (arguments.out / "train.json").write_text(json.dumps(content, indent=1) + "\n")
    text = report.table(bench, result, GOALS, facts, rounds, arguments.only)
    if points:
        text += curve.table(points)
        (arguments.out / "cost_curve.svg").write_text(curve.plot(points))
    (arguments.out / "train.md").write_text(text)
    (arguments.out / "train.svg").write_text(report.plot(bench))
    for name in ("rounds.json", "curve.json"):  # the next run measures anew
        (work / name).unlink(missing_ok=True)
    print(text)


if __name__ == "__main__":
    main()
