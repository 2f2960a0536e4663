"""Runs cells, several at a time, each once the files that it reads are there."""

import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from evidence_cells import Cell


@dataclass(frozen=True)
class CellFiles:
    """What a cell's command names. A vector that is missing is made by the cell."""

    vector: Path | None
    reads: tuple[Path, ...]  # vectors and adapters of other cells
    saves: tuple[Path, ...]  # adapters, anew each time

    @property
    def makes(self) -> tuple[Path, ...]:
        return (*((self.vector,) if self.vector else ()), *self.saves)


def files_of(command: list[str]) -> CellFiles:
    flags = dict(argument.split("=", 1) for argument in command[1:])
    paths = {flag: tuple(map(Path, value.split(","))) for flag, value in flags.items()}
    vector = paths.get("--vector", ())
    reads = paths.get("--more_vectors", ()) + paths.get("--start", ())
    return CellFiles(vector[0] if vector else None, reads, paths.get("--save", ()))


def with_makers(todo: list[Cell], planned: list[Cell], files: dict[Cell, CellFiles]) -> list[Cell]:
    """`todo`, each cell after those that make what it reads, where that is gone (another machine)."""
    makers: dict[Path, Cell] = {}
    for cell in planned:
        for path in files[cell].makes:
            makers.setdefault(path, cell)
    ordered: dict[Cell, None] = {}

    def add(cell: Cell) -> None:
        for path in files[cell].reads:
            if not path.exists():
                add(makers[path])
        ordered.setdefault(cell)

    for cell in todo:
        add(cell)
    return list(ordered)


def ready(cell: Cell, running: set[Cell], files: dict[Cell, CellFiles]) -> bool:
    """Its files are there, and no other cell is just making its vector."""
    vector = files[cell].vector
    if vector and not vector.exists() and any(files[other].vector == vector for other in running):
        return False
    in_the_making = {path for other in running for path in files[other].saves}
    return all(path.exists() and path not in in_the_making for path in files[cell].reads)


def measure(
    todo: list[Cell],
    limit_s: float,
    jobs: int,
    is_ready: Callable[[Cell, set[Cell]], bool],
    run: Callable[[Cell], dict],
    finished: Callable[[Cell, dict], None],
) -> None:
    """Keeps `jobs` cells running, the first ready one next; starts none after limit_s.

    `run` is called in threads of its own, `finished` in the caller's. After a cell's error none is started; those
    beside it are finished before the error is raised.
    """
    start = time.monotonic()
    waiting, running = list(todo), dict[Future, Cell]()
    error = None
    with ThreadPoolExecutor(jobs) as pool:
        while waiting or running:
            in_time = time.monotonic() - start < limit_s
            while error is None and in_time and len(running) < jobs:
                cell = next((c for c in waiting if is_ready(c, set(running.values()))), None)
                if cell is None:
                    break
                waiting.remove(cell)
                running[pool.submit(run, cell)] = cell
                passed = (time.monotonic() - start) / 60
                print(f"== {cell.name}: started at {passed:.0f} min, {len(waiting)} after it", flush=True)  # fmt: skip
            if not running:
                why = "what they need is not there" if in_time and error is None else "time is up"
                print(f"== {len(waiting)} cells are not run: {why}", flush=True)
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                cell = running.pop(future)
                if future.exception() is None:
                    finished(cell, future.result())
                error = error or future.exception()
    if error is not None:
        raise error
