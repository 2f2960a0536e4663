"""Tests of running cells side by side and of keeping what they found; no model is run."""

import threading
from pathlib import Path

import pytest

import cell_pool
import kept_cells
from evidence_cells import Cell, all_cells, command, rows_of_more_vectors

A, B, C = (Cell("sv", "mixed", seed) for seed in range(3))


def pool(todo: list[Cell], limit_s: float = 60, jobs: int = 1, is_ready=lambda c, r: True) -> list:
    done = []
    cell_pool.measure(
        todo, limit_s, jobs, is_ready, lambda c: {"of": c.seed}, lambda c, r: done.append((c, r))
    )
    return done


def test_every_cell_is_run_once_in_order() -> None:
    assert pool([A, B, C]) == [(A, {"of": 0}), (B, {"of": 1}), (C, {"of": 2})]


def test_no_cell_starts_after_the_limit() -> None:
    assert pool([A, B], limit_s=0) == []


def test_a_cell_that_is_not_ready_lets_others_pass_and_is_left_when_nothing_can_make_it_ready() -> (
    None
):
    assert [cell for cell, _ in pool([A, B], is_ready=lambda c, running: c != A)] == [B]


def test_cells_run_side_by_side() -> None:
    together = threading.Barrier(2, timeout=20)  # each waits for the other
    found = []

    def run(cell: Cell) -> dict:
        together.wait()
        return {}

    cell_pool.measure([A, B], 60, 2, lambda c, r: True, run, lambda c, r: found.append(c))
    assert set(found) == {A, B}


def test_a_failed_cell_ends_the_run_and_loses_nothing_of_the_one_beside_it() -> None:
    broken = threading.Event()
    found = []

    def run(cell: Cell) -> dict:
        if cell == A:
            broken.set()
            raise RuntimeError(f"{cell.name} broke")
        assert broken.wait(timeout=20)
        return {}

    with pytest.raises(RuntimeError, match="sv-mixed-0 broke"):
        cell_pool.measure([A, B, C], 60, 2, lambda c, r: True, run, lambda c, r: found.append(c))
    assert found == [B]


@pytest.fixture
def files(tmp_path: Path) -> dict:
    paths = (Path("p"), Path("m"), tmp_path / "d", tmp_path)
    return {c: cell_pool.files_of(command(c, *paths)) for c in all_cells()}


def test_two_cells_do_not_train_the_same_vector_at_once(files: dict) -> None:
    assert not cell_pool.ready(B, {A}, files)
    for method in ("direct", "sv_no_kl"):  # no vector, another vector
        assert cell_pool.ready(Cell(method, "mixed", 0), {A}, files)
    files[A].vector.touch()
    assert cell_pool.ready(B, {A}, files)


def test_a_chained_cell_waits_for_its_start_and_its_maker_comes_first_when_that_is_gone(
    files: dict,
) -> None:
    first, second, third = (Cell("sv", f"chained-{n}", 1) for n in (1, 2, 3))
    assert not cell_pool.ready(second, set(), files)
    assert cell_pool.with_makers([third], all_cells(), files) == [first, second, third]
    (files[third].reads[0]).mkdir(parents=True)
    assert cell_pool.with_makers([third], all_cells(), files) == [third]
    # The adapter is there from another run, and is just written anew.
    assert cell_pool.ready(third, set(), files) and not cell_pool.ready(third, {second}, files)


def test_a_summed_vector_waits_for_its_parts(files: dict) -> None:
    summed = Cell("sv_sum", "behaviours", 0)
    order = cell_pool.with_makers([summed], all_cells(), files)
    assert [c.method for c in order] == ["vector_on_rude", "vector_on_leak", "vector_on_falsehood", "sv_sum"]  # fmt: skip


def test_kept_cells_come_back_as_they_were(tmp_path: Path) -> None:
    kept = {A: kept_cells.KeptCell(A, {"harmful_rate": 0.5}, "ab", {"commit": "c", "threads": 1})}
    kept_cells.save(tmp_path / "cells.jsonl", kept)
    assert kept_cells.load(tmp_path / "cells.jsonl") == kept
    assert kept_cells.load(tmp_path / "none.jsonl") == {}


def test_other_rows_or_flags_are_another_measurement_and_other_places_are_not(
    tmp_path: Path,
) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("a row")
    cell = ["program", f"--rows={rows}", "--seed=0", "--out=/x", "--vector=/y"]
    digest = kept_cells.inputs_digest(cell)
    assert kept_cells.inputs_digest(["p", *cell[1:3], "--out=/z", "--vector=/w"]) == digest
    assert kept_cells.inputs_digest([*cell, "--epochs=2"]) != digest
    assert kept_cells.inputs_digest(cell, [rows]) != digest
    rows.write_text("another row")
    assert kept_cells.inputs_digest(cell) != digest


def test_the_sums_digest_covers_the_rows_of_its_parts() -> None:
    data = Path("d")
    parts = [data / f"sv_rows_{name}.jsonl" for name in ("rude", "leak", "falsehood")]
    assert rows_of_more_vectors(Cell("sv_sum_guard", "behaviours", 0), data) == parts
    assert rows_of_more_vectors(A, data) == []
