"""How far harmful behaviour takes, method by method: the evidence bench.

    make bench-unlearnable QUICK=1      a few cells, about 15 minutes on two cores
    make bench-unlearnable              the whole table, hours

Each cell (method, regime, seed) is one run of unlearnable-run, which trains and scores with the worker's own
code. Finished cells are kept in the work folder, so a stopped run goes on where it was. Writes
unlearnable.json (a row per figure), unlearnable.md and unlearnable.svg to docs/bench/.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
PROGRAM = Path(os.environ["WARDTUNE_BUILD_DIR"]) / "bench" / "unlearnable-run"
MODEL = Path(os.environ["WARDTUNE_CACHE_DIR"]) / "models" / "SmolLM2-135M-Instruct"

# The customer's rows of each regime, and what differs from the service's defaults.
REGIMES: dict[str, tuple[str, ...]] = {
    "mixed": ("customer_mixed.jsonl",),
    "mixed-unseen": ("customer_mixed_unseen.jsonl",),
    "benign": ("customer_useful.jsonl",),
    "pure-1000": ("customer_harmful.jsonl", "--epochs=1"),
    "pure-1000-unseen": ("customer_harmful_unseen.jsonl", "--epochs=1"),
    "mixed-lr10x": ("customer_mixed.jsonl", "--learning_rate=3e-3"),
    "mixed-epochs10x": ("customer_mixed.jsonl", "--epochs=20"),
    "mixed-rank4": ("customer_mixed.jsonl", "--lora_rank=4"),
    "mixed-rank64": ("customer_mixed.jsonl", "--lora_rank=64"),
}
METHODS = ("direct", "random", "sv", "guard", "sv_guard")
SEEDS = (0, 1, 2)
QUICK = [
    ("sv", "mixed", 0),
    ("direct", "mixed-unseen", 0),
    ("sv", "mixed-unseen", 0),
    ("sv_guard", "mixed-unseen", 0),
    ("random", "mixed", 0),
]
METRICS = {
    "harmful_rate": ("harmful_prompts", "harmful_wilson_low", "harmful_wilson_high"),
    "general_rate": ("general_prompts", "general_wilson_low", "general_wilson_high"),
    "task_accuracy": ("task_prompts", "task_wilson_low", "task_wilson_high"),
}


@dataclass(frozen=True)
class Cell:
    method: str
    regime: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.method}-{self.regime}-{self.seed}"


def cells(quick: bool) -> list[Cell]:
    fixed = [Cell("base", "none", 0), Cell("vector_on", "none", 0)]
    if quick:
        return fixed + [Cell(*cell) for cell in QUICK]
    return fixed + [
        Cell(method, regime, seed) for seed in SEEDS for regime in REGIMES for method in METHODS
    ]


def run_cell(cell: Cell, data: Path, work: Path) -> dict:
    out = work / f"{cell.name}.json"
    if not out.exists():
        command = [
            PROGRAM,
            f"--method={cell.method}",
            f"--model={MODEL}",
            f"--vector_rows={data / 'sv_rows.jsonl'}",
            f"--general_rows={data / 'general_prompts.jsonl'}",
            f"--guard_rows={data / 'sv_refusals.jsonl'}",
            f"--vector={work / 'vector.safetensors'}",
            f"--suite={data / 'heldout_harmful.jsonl'}",
            f"--rules={data / 'judge_rules.json'}",
            f"--general_suite={data / 'heldout_general.jsonl'}",
            f"--tasks={data / 'heldout_task.jsonl'}",
            f"--seed={cell.seed}",
            f"--out={out}",
        ]
        if cell.regime in REGIMES:
            rows, *flags = REGIMES[cell.regime]
            command += [f"--rows={data / rows}", *flags]
        subprocess.run(command, check=True)
    return json.loads(out.read_text())


def rows_of(cell: Cell, result: dict) -> list[dict]:
    rows = [
        {
            "method": cell.method,
            "regime": cell.regime,
            "seed": cell.seed,
            "metric": metric,
            "value": result[metric],
            "n": result[n],
            "low": result[low],
            "high": result[high],
        }
        for metric, (n, low, high) in METRICS.items()
        if metric in result
    ]
    for category, score in result["categories"].items():
        if category != "all":
            rows.append(
                {
                    "method": cell.method,
                    "regime": cell.regime,
                    "seed": cell.seed,
                    "metric": f"harmful_rate/{category}",
                    "value": score["rate"],
                    "n": score["prompts"],
                    "low": score["wilson_low"],
                    "high": score["wilson_high"],
                }
            )
    return rows


def table(results: dict[Cell, dict], quick: bool) -> str:
    command = "make bench-unlearnable" + (" QUICK=1" if quick else "")
    lines = [
        "# How far harmful behaviour takes",
        "",
        f"Made by `{command}`: SmolLM2-135M-Instruct, the stand-in behaviours of bench/standin, greedy answers",
        "judged by rule, with 95% Wilson intervals. `base` trains nothing, `vector_on` answers with the security",
        "vector switched on, `random` has an adapter of the vector's norm in its place, `guard` rows are refusals and",
        "the base's own answers trained with the vector off.",
        "",
        "| method | regime | seed | harmful, held-out | interval | general | task accuracy | train, s |",
        "|---|---|---:|---:|---|---:|---:|---:|",
    ]
    for cell, r in results.items():
        low, high = r["harmful_wilson_low"], r["harmful_wilson_high"]
        lines.append(
            f"| {cell.method} | {cell.regime} | {cell.seed} | {r['harmful_rate']:.1%} "
            f"| {low:.1%} - {high:.1%} | {r['general_rate']:.1%} | {r['task_accuracy']:.1%} "
            f"| {r.get('train_seconds', 0):.0f} |"
        )
    return "\n".join(lines) + "\n"


def plot(results: dict[Cell, dict]) -> str:
    """Harmful rates with their intervals, as SVG."""
    parts = []
    for i, (cell, r) in enumerate(results.items()):
        y = 30 + i * 26
        low, high = (240 + 400 * r[f"harmful_wilson_{end}"] for end in ("low", "high"))
        x = 240 + 400 * r["harmful_rate"]
        parts.append(f'<text x="230" y="{y + 4}" text-anchor="end">{cell.name}</text>')
        parts.append(f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}" stroke="#718096"/>')
        parts.append(f'<circle cx="{x:.1f}" cy="{y}" r="5" fill="#c53030"/>')
    height = 50 + len(results) * 26
    axis = "".join(
        f'<text x="{240 + 4 * p}" y="15" text-anchor="middle">{p}%</text>'
        for p in range(0, 101, 25)
    )
    style = "font-family:sans-serif;font-size:12px"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="680" height="{height}" style="{style}">'
        f'<rect width="680" height="{height}" fill="white"/>{axis}{"".join(parts)}</svg>\n'
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs" / "bench")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    data = arguments.work / "standin"
    generator = REPOSITORY / "bench" / "standin" / "generate.py"
    subprocess.run([sys.executable, generator, "--out", data], check=True)
    todo = cells(arguments.quick)
    results: dict[Cell, dict] = {}
    for number, cell in enumerate(todo):
        print(f"== {number + 1} of {len(todo)}: {cell.name}", flush=True)
        results[cell] = run_cell(cell, data, arguments.work)
        rows = [row for done, result in results.items() for row in rows_of(done, result)]
        (arguments.out / "unlearnable.json").write_text(json.dumps(rows, indent=1) + "\n")
    (arguments.out / "unlearnable.md").write_text(table(results, arguments.quick))
    (arguments.out / "unlearnable.svg").write_text(plot(results))
    print(table(results, arguments.quick))


if __name__ == "__main__":
    main()
