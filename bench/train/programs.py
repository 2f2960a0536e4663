"""Runs the programs of `make bench-train` one at a time and keeps every report."""

import hashlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = Path(os.environ["WARDTUNE_BUILD_DIR"]) / "bench"
MODEL = Path(os.environ["WARDTUNE_CACHE_DIR"]) / "models" / "SmolLM2-135M-Instruct"
# The peers' progress bars and warnings would hide the figures.
QUIET = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONWARNINGS": "ignore",
    "TQDM_DISABLE": "1",
    # The model is a local folder; nothing is asked of or reported to a hub.
    "HF_HUB_OFFLINE": "1",
}

Report = dict


def engine_digest() -> str:
    """Of the program that trains: rounds of two builds do not belong into one median."""
    return hashlib.sha256((BUILD / "train-bench").read_bytes()).hexdigest()


class Bench:
    """Runs one program at a time and keeps every report; those whose name fits no pattern are left out."""

    def __init__(self, work: Path, only: Sequence[str] = ("*",)) -> None:
        self._work = work
        self._only = only
        self.raw: dict[str, list[Report]] = {}

    def save(self, path: Path) -> None:
        saved = {"only": list(self._only), "engine": engine_digest(), "raw": self.raw}
        path.write_text(json.dumps(saved))

    def take_up(self, path: Path) -> None:
        """Counts the reports of an interrupted run of the same programs and the same engine."""
        saved = json.loads(path.read_text())
        if saved.get("only") == list(self._only) and saved.get("engine") == engine_digest():
            self.raw = saved["raw"]

    def _wanted(self, name: str) -> bool:
        return any(fnmatch(name, pattern) for pattern in self._only)

    def run(self, name: str, *command: object) -> None:
        if not self._wanted(name):
            return
        out = self._work / "report.json"
        out.unlink(missing_ok=True)
        separator = "=" if str(command[0]).startswith(str(BUILD)) else None
        arguments = [f"--out={out}"] if separator else ["--out", str(out)]
        command_line = [str(part) for part in command] + arguments
        subprocess.run(command_line, check=True, env={**os.environ, **QUIET})
        self.keep(name, json.loads(out.read_text()))

    def keep(self, name: str, report: Report) -> None:
        self.raw.setdefault(name, []).append(report)
        speed = report["tokens_per_second"]
        memory = report.get("peak_rss_bytes", 0) / 1e9
        print(f"   {name:24} {speed:8.1f} tokens/s  {memory:5.2f} GB", flush=True)

    def processes(self, name: str, count: int, *command: object) -> None:
        """`count` copies at once; process i gets --first_job=i.

        Their speed is all tokens over the time from the first start to the last end: a sum of speeds would
        count processes that ran while others had ended. Memory adds up.
        """
        if not self._wanted(name):
            return
        outs = [self._work / f"report-{i}.json" for i in range(count)]
        children = [
            subprocess.Popen([*map(str, command), f"--first_job={i}", f"--out={out}"])
            for i, out in enumerate(outs)
        ]
        if any(child.wait() != 0 for child in children):
            raise RuntimeError(f"{name}: a process failed")
        reports = [json.loads(out.read_text()) for out in outs]
        tokens = sum(report["tokens"] for report in reports)
        seconds = max(r["ended"] for r in reports) - min(r["started"] for r in reports)
        memory = sum(report["peak_rss_bytes"] for report in reports)
        self.keep(
            name,
            {
                "tokens_per_second": tokens / seconds,
                "tokens": tokens,
                "seconds": seconds,
                "peak_rss_bytes": memory,
                "processes": reports,
            },
        )

    def ours(self, name: str, rows: Path, *flags: str) -> None:
        self.run(name, BUILD / "train-bench", f"--model={MODEL}", f"--rows={rows}", *flags)

    def peft(self, name: str, rows: Path, *flags: str) -> None:
        self._peer("peft_bench.py", name, rows, *flags)

    def trl(self, name: str, rows: Path, *flags: str) -> None:
        self._peer("trl_bench.py", name, rows, *flags)

    def _peer(self, script: str, name: str, rows: Path, *flags: str) -> None:
        self.run(name, sys.executable, HERE / script, "--model", MODEL, "--rows", rows, *flags)

    def median(self, name: str, key: str = "tokens_per_second") -> float:
        return statistics.median(report[key] for report in self.raw[name])

    def spread(self, name: str) -> tuple[float, float]:
        speeds = [report["tokens_per_second"] for report in self.raw[name]]
        return min(speeds), max(speeds)
