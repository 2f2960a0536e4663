"""How far harmful behaviour takes, method by method: the evidence bench.

    make bench-unlearnable QUICK=1      a few cells, about 15 minutes on two cores
    make bench-unlearnable MINUTES=60   starts no cell after an hour; the report says what was not run
    make bench-unlearnable JOBS=2       two cells at a time, each on half of the cores; times are not measured then
    make bench-unlearnable ONLY='sv*-mixed-*,direct-*'   cells whose METHOD-REGIME-SEED matches, in the patterns' order
    make bench-unlearnable              the whole table, hours

Each cell (method, regime, seed) is one run of unlearnable-run, which trains and scores with the worker's own
code; all but the quick form train a language-model judge first, which reads each cell's answers beside the rules. Finished cells are kept in docs/bench/unlearnable_cells.jsonl, from which a run goes on, also on another
machine. After every cell the tables are written anew: unlearnable.json (a row per figure), unlearnable.md and
unlearnable.svg.
"""

import argparse
import json
import os
import platform
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import cell_pool
import kept_cells
from evidence_cells import (
    QUICK,
    TIMED_REGIME,
    Cell,
    all_cells,
    judge_adapter,
    rows_of_more_vectors,
    second_judge,
)
from evidence_plot import plot
from evidence_report import figures, markdown
from evidence_work import REPOSITORY, command_of, make_judge, make_rows


def commit() -> str:
    git = ["git", "-C", REPOSITORY, "rev-parse", "--short", "HEAD"]
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()


def cpu() -> str:
    """The processor's name with its family and model, as different ones may share a name."""
    info = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        info.setdefault(key.strip(), value.strip())
    if "model name" not in info:
        return platform.machine()
    return f"{info['model name']} (family {info.get('cpu family')}, model {info.get('model')})"


def machine() -> list[str]:
    return [
        f"reported on {os.cpu_count()} cores, {cpu()}; kept cells may come from another machine",
        f"{platform.system()} {platform.release()}, commit {commit() or 'unknown'} when reported",
    ]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--limit-minutes", type=float, default=float("inf"))
    parser.add_argument(
        "--jobs", type=int, default=1, help="cells at a time, on their share of the cores"
    )
    parser.add_argument(
        "--only",
        default="*",
        help="patterns of the cells' names, METHOD-REGIME-SEED, first ones first",
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument(
        "--out", type=Path, help="docs/bench, or quick/ of the work folder with --quick"
    )
    arguments = parser.parse_args()
    if arguments.out is None:
        quick = arguments.work / "quick"
        arguments.out = quick if arguments.quick else REPOSITORY / "docs" / "bench"
    return arguments


class EvidenceBench:
    """The planned cells, what is known of them, and where it is written."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.work, self.out, self.jobs = arguments.work, arguments.out, arguments.jobs
        self.threads = max(1, os.cpu_count() // self.jobs)
        self.out.mkdir(parents=True, exist_ok=True)
        self.data = data = make_rows(self.work)
        self.planned = QUICK if arguments.quick else all_cells()
        self.second_judge = [] if arguments.quick else second_judge(data, self.work)
        commands = {c: command_of(c, data, self.work) for c in self.planned}
        self.files = {c: cell_pool.files_of(commands[c]) for c in self.planned}
        self.inputs = {
            c: kept_cells.inputs_digest(commands[c], rows_of_more_vectors(c, data))
            for c in self.planned
        }
        self.kept_file = self.out / "unlearnable_cells.jsonl"
        known = kept_cells.load(self.kept_file)
        self.kept = {
            c: known[c] for c in self.planned if c in known and known[c].inputs == self.inputs[c]
        }
        # Measured on other rows or with other flags: no part of the report, and not thrown away.
        self.outdated = {c: k for c, k in known.items() if c not in self.kept}

    def todo(self, patterns: list[str]) -> list[Cell]:
        missing = [c for c in self.planned if c not in self.kept]
        wanted = [c for pattern in patterns for c in missing if fnmatch(c.name, pattern)]
        return cell_pool.with_makers(wanted, self.planned, self.files)

    def ready(self, cell: Cell, running: set[Cell]) -> bool:
        if cell.regime == TIMED_REGIME and self.jobs > 1:
            return False  # a time counts only on a machine that does nothing else
        return cell_pool.ready(cell, running, self.files)

    def run(self, cell: Cell) -> dict:
        log = self.work / f"{cell.name}.log"
        command = [
            *command_of(cell, self.data, self.work),
            *self.second_judge,
            f"--threads={self.threads}",
        ]
        with log.open("w") as file:
            ran = subprocess.run(command, stderr=file, check=False)
        if ran.returncode != 0:
            raise RuntimeError(f"{cell.name}: {log.read_text()[-500:]}")
        return json.loads((self.work / f"{cell.name}.json").read_text())

    def keep(self, cell: Cell, result: dict) -> None:
        made = {"commit": commit(), "threads": self.threads, "alone": self.jobs == 1, "cpu": cpu()}
        vector = self.files[cell].vector
        if vector and vector.exists():
            made["vector_sha256"] = kept_cells.content_digest(vector)
        if self.second_judge and judge_adapter(self.work).exists():
            made["judge_sha256"] = kept_cells.content_digest(judge_adapter(self.work))
        if cell.regime != TIMED_REGIME:
            result.pop("train_seconds", None)
        self.kept[cell] = kept_cells.KeptCell(cell, result, self.inputs[cell], made)
        self.kept = {c: self.kept[c] for c in self.planned if c in self.kept}
        kept_cells.save(
            self.kept_file,
            self.kept | {c: k for c, k in self.outdated.items() if c not in self.kept},
        )
        self.report()

    def report(self) -> None:
        results = {c: k.result for c, k in self.kept.items()}
        (self.out / "unlearnable.json").write_text(json.dumps(figures(results), indent=1) + "\n")
        (self.out / "unlearnable.md").write_text(markdown(results, self.planned, machine()))
        (self.out / "unlearnable.svg").write_text(plot(results))


def main() -> None:
    arguments = parse_arguments()
    bench = EvidenceBench(arguments)
    todo = bench.todo(arguments.only.split(","))
    if todo and not arguments.quick:
        make_judge(bench.data, bench.work)
    cell_pool.measure(
        todo,
        arguments.limit_minutes * 60,
        arguments.jobs,
        bench.ready,
        bench.run,
        bench.keep,
    )
    bench.report()
    print((bench.out / "unlearnable.md").read_text())


if __name__ == "__main__":
    main()
