"""How far harmful behaviour takes, method by method: the evidence bench.

    make bench-unlearnable QUICK=1      a few cells, about 15 minutes on two cores
    make bench-unlearnable MINUTES=60   starts no cell after an hour; the report says what was not run
    make bench-unlearnable              the whole table, hours

Each cell (method, regime, seed) is one run of unlearnable-run, which trains and scores with the worker's own
code. Finished cells are kept in the work folder, so a stopped run goes on where it was. Writes
unlearnable.json (a row per figure), unlearnable.md and unlearnable.svg to docs/bench/ after every cell.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from evidence_cells import CUSTOMER_FILES, QUICK, Cell, all_cells, command
from evidence_plot import plot
from evidence_report import figures, markdown
from evidence_rows import write_derived

REPOSITORY = Path(__file__).resolve().parents[2]


def machine() -> list[str]:
    info = Path("/proc/cpuinfo").read_text()
    names = [line.split(":", 1)[1].strip() for line in info.splitlines() if "model name" in line]
    git = ["git", "-C", REPOSITORY, "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    return [
        f"machine: {os.cpu_count()} cores, {names[0] if names else platform.machine()}",
        f"{platform.system()} {platform.release()}, commit {commit or 'unknown'} when reported",
    ]


def write_report(results: dict[Cell, dict], planned: list[Cell], made_by: str, out: Path) -> None:
    (out / "unlearnable.json").write_text(json.dumps(figures(results), indent=1) + "\n")
    (out / "unlearnable.md").write_text(markdown(results, planned, made_by, machine()))
    (out / "unlearnable.svg").write_text(plot(results))


def measure(planned: list[Cell], done: dict[Cell, dict], limit_s: float, run) -> None:
    """Runs what is not in `done`; starts nothing once limit_s has passed."""
    start = time.monotonic()
    todo = [cell for cell in planned if cell not in done]
    for number, cell in enumerate(todo):
        passed = time.monotonic() - start
        if passed >= limit_s:
            print(f"== time is up: {len(todo) - number} cells are not run", flush=True)
            return
        left = (
            f", about {passed / number * (len(todo) - number) / 60:.0f} min left" if number else ""
        )
        print(f"== {number + 1} of {len(todo)}: {cell.name}{left}", flush=True)
        done[cell] = run(cell)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--limit-minutes", type=float, default=float("inf"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs" / "bench")
    arguments = parser.parse_args()
    work, out = arguments.work, arguments.out
    for folder in (work / "adapters", out):
        folder.mkdir(parents=True, exist_ok=True)
    program = Path(os.environ["WARDTUNE_BUILD_DIR"]) / "bench" / "unlearnable-run"
    model = Path(os.environ["WARDTUNE_CACHE_DIR"]) / "models" / "SmolLM2-135M-Instruct"
    generator = REPOSITORY / "bench" / "standin" / "generate.py"
    subprocess.run([sys.executable, generator, "--out", work / "standin"], check=True)
    write_derived(work / "standin", CUSTOMER_FILES)
    made_by = "make bench-unlearnable" + (" QUICK=1" if arguments.quick else "")
    if arguments.limit_minutes != float("inf"):
        made_by += f" MINUTES={arguments.limit_minutes:g}"
    planned = QUICK if arguments.quick else all_cells()
    files = {cell: work / f"{cell.name}.json" for cell in planned}
    done = {cell: json.loads(f.read_text()) for cell, f in files.items() if f.exists()}

    def run(cell: Cell) -> dict:
        subprocess.run(command(cell, program, model, work / "standin", work), check=True)
        result = json.loads(files[cell].read_text())
        measured = {c: {**done, cell: result}[c] for c in planned if c in done or c == cell}
        write_report(measured, planned, made_by, out)
        return result

    write_report(done, planned, made_by, out)
    measure(planned, done, arguments.limit_minutes * 60, run)
    print((out / "unlearnable.md").read_text())


if __name__ == "__main__":
    main()
