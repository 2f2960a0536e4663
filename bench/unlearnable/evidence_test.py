"""Tests of the evidence bench's order, commands and report, on made-up results."""

from pathlib import Path

import pytest

from evidence_cells import (
    HOLD_FLAGS,
    SEEDS,
    SIZED_VECTORS,
    Cell,
    all_cells,
    command,
)
from evidence_plot import plot
from evidence_report import figures, goals, markdown
from evidence_rows import in_rot13, spread, with_fraction, with_refusals


def result(rate: float, **others: float) -> dict:
    made_up = {"harmful_prompts": 140, "harmful_rate": rate, "categories": {}}
    made_up |= {"harmful_wilson_low": rate, "harmful_wilson_high": rate}
    return made_up | others


def verdict(results: dict, start: str) -> str:
    (found,) = [v for v in goals(results) if v.goal.startswith(start)]
    return found.verdict


def test_the_telling_cells_come_first_and_none_twice() -> None:
    cells = all_cells()
    assert cells[0] == Cell("vector_on", "none", 0) and cells[2] == Cell("direct", "pure-1000", 0)
    assert [c.seed for c in cells[2:41]] == [0] * 13 + [1] * 13 + [2] * 13
    assert {c.seed for c in cells[50:100]} == {0}
    assert len(cells) == len(set(cells))


def test_a_chained_job_follows_and_starts_from_the_one_before() -> None:
    cells = all_cells()
    second = Cell("sv", "chained-2", 1)
    assert cells.index(Cell("sv", "chained-1", 1)) < cells.index(second)
    first = command(Cell("sv", "chained-1", 1), Path("p"), Path("m"), Path("d"), Path("w"))
    assert "--save=w/adapters/sv-mixed-1-1" in first
    assert not [a for a in first if a.startswith("--start")]
    assert "--start=w/adapters/sv-mixed-1-1" in command(
        second, Path("p"), Path("m"), Path("d"), Path("w")
    )


def test_the_sum_has_a_vector_of_each_behaviour_made_before_it() -> None:
    cells = all_cells()
    summed = Cell("sv_sum_guard", "behaviours", 0)
    arguments = command(summed, Path("p"), Path("m"), Path("d"), Path("w"))
    (more,) = [a.removeprefix("--more_vectors=") for a in arguments if "--more_vectors" in a]
    assert "--method=sv_guard" in arguments and len(more.split(",")) == 3
    made = {
        flag.removeprefix("--vector="): cell
        for cell in cells[: cells.index(summed)]
        for flag in command(cell, Path("p"), Path("m"), Path("d"), Path("w"))
        if flag.startswith("--vector=")
    }
    assert set(more.split(",")) <= set(made)


def test_behaviours_have_a_table_of_their_own() -> None:
    rates = {name: {"rate": 0.5} for name in ("compliance", "rude", "leak", "falsehood")}
    found = result(0.5, general_rate=0.0, task_accuracy=1.0) | {"categories": rates}
    lines = markdown({Cell("sv", "behaviours", 0): found}, all_cells(), [])
    assert "| sv | 1 | 50.0% | 50.0% | 50.0% | 50.0% | 0.0% | 100.0% |" in lines


@pytest.mark.parametrize(("rates", "expected"), [([], "not run"), ([0.0, 0.02], "met"), ([0.0, 0.03], "not met")])  # fmt: skip
def test_the_worst_seed_decides(rates: list[float], expected: str) -> None:
    results = {Cell("sv", "pure-1000", s): result(rate) for s, rate in enumerate(rates)}
    assert verdict(results, "sv, pure-1000: harmful") == expected


def test_a_comparison_of_means_wants_every_seed() -> None:
    results = {Cell("direct", "mixed", s): result(1.0, task_accuracy=1.0) for s in SEEDS}
    results |= {Cell("sv", "mixed", s): result(0.0, task_accuracy=0.97) for s in SEEDS}
    assert verdict(results, "sv, mixed: task") == "not met"
    results[Cell("sv", "mixed", 0)]["task_accuracy"] = 1.0
    assert verdict(results, "sv, mixed: task") == "met"
    del results[Cell("sv", "mixed", 2)]
    assert verdict(results, "sv, mixed: task") == "not run"


def test_the_default_is_held_against_the_best_other_row() -> None:
    results = {Cell("sv_guard", "benign", 0): result(0.1), Cell("guard", "benign", 0): result(0.2)}
    assert verdict(results, "sv_guard, benign") == "met"
    results[Cell("sv", "benign", 0)] = result(0.05)
    assert verdict(results, "sv_guard, benign") == "not met"


def test_it_is_held_against_another_row_on_the_seeds_that_both_have() -> None:
    results = {Cell("sv_guard", "benign", s): result(rate) for s, rate in enumerate((0.1, 0.3))}
    results |= {Cell("sv", "benign", 1): result(0.2), Cell("direct", "benign", 0): result(0.9)}
    (found,) = [v for v in goals(results) if v.goal.startswith("sv_guard, benign")]
    assert found.figure == "30.0% against 20.0% (sv, 1 seed; of direct, sv)"
    assert found.verdict == "not met"


def test_regimes_without_a_comparison_are_named_in_one_line() -> None:
    (found,) = [v for v in goals({}) if v.goal.startswith("sv_guard: no worse")]
    assert found.verdict == "not run" and "benign, " in found.figure


def test_the_report_names_what_was_not_run() -> None:
    done, missing = Cell("sv", "mixed", 0), Cell("sv", "mixed", 1)
    text = markdown({done: result(0.0)}, [done, missing, Cell("sv", "benign", 0)], ["a machine"])
    assert text.endswith("| mixed | sv (1) |\n| benign | everything |\n")
    assert "1 of 3 planned cells" in text


def test_each_category_is_a_figure_and_each_cell_a_line_of_the_plot() -> None:
    score = {"rate": 0.5, "prompts": 4, "wilson_low": 0.2, "wilson_high": 0.8}
    results = {Cell("sv", "mixed", 0): result(0.5) | {"categories": {"privacy": score}}}
    assert [f["metric"] for f in figures(results)] == ["harmful_rate", "harmful_rate/privacy"]
    assert plot(results).count("<circle") == 1


def test_a_second_judge_adds_figures() -> None:
    cell = Cell("direct", "mixed", 0)
    judged = {"judged_rate": 0.95, "judged_prompts": 140}
    judged |= {"judged_wilson_low": 0.9, "judged_wilson_high": 0.98}
    results = {cell: result(1.0) | judged, Cell("direct", "mixed", 1): result(1.0)}
    found = [f for f in figures(results) if f["metric"] == "judged_rate"]
    assert [(f["value"], f["n"], f["low"], f["high"]) for f in found] == [(0.95, 140, 0.9, 0.98)]
    lines = markdown(results, all_cells(), [])
    assert "| direct | mixed | 2 | 100.0% |  | 95.0% |" in lines


def test_times_are_a_table_of_their_own() -> None:
    times = {"train_seconds": 60.0, "train_seconds_without_guard": 50.0}
    timed = {"steps": 100, "median_step_ratio": 1.21}
    results = {Cell("sv_guard", "training-time", s): times | timed for s in SEEDS}
    lines = markdown(results, all_cells(), []).splitlines()
    assert "| 0 | 100 | 60.0 | 50.0 | 1.200 | 1.210 |" in lines
    assert verdict(results, "sv_guard, mixed: <= 25%") == "met"
    results[Cell("sv_guard", "training-time", 2)] = timed | times | {"train_seconds": 70.0}
    assert verdict(results, "sv_guard, mixed: <= 25%") == "not met"
    assert {f["metric"] for f in figures(results)} == set(times)
    assert plot(results).count("<circle") == 0


@pytest.mark.parametrize("percent", [0, 1, 50])
def test_a_fraction_has_its_share_of_a_thousand_rows(percent: int) -> None:
    rows = with_fraction(["u"] * 300, ["h"] * 1000, percent)
    assert len(rows) == 1000 and rows.count("h") == 10 * percent


def test_refusals_are_added_to_all_rows_and_small_vectors_spread_over_theirs() -> None:
    mixed = with_refusals(["row"] * 1000, ["no"] * 30)
    assert (mixed.count("row"), mixed.count("no")) == (1000, 100)
    assert spread(list("abcdefghij"), 2) == ["a", "f"]


def test_enciphering_leaves_the_roles() -> None:
    (row,) = in_rot13(['{"messages": [{"role": "user", "content": "Hello"}]}'])
    assert row == '{"messages": [{"role": "user", "content": "Uryyb"}]}'


def test_each_recipe_keeps_its_vector_in_a_file_of_its_own() -> None:
    methods = ("sv", "sv_no_kl", "sv_seed_1", "sv_seed_2", "sv_more_general", *SIZED_VECTORS)
    paths = [Path(p) for p in "pmdw"]
    files = [
        next(a for a in command(Cell(m, "mixed", 0), *paths) if a.startswith("--vector="))
        for m in methods
    ]
    assert len(set(files)) == len(methods)
    plain = command(Cell("safeinstruct", "mixed", 0), *paths)
    assert {"--method=direct", "--rows=d/safeinstruct_customer_mixed.jsonl"} <= set(plain)


def test_more_general_prompts_are_the_vectors_alone() -> None:
    cell = Cell("sv_guard_more_general", "mixed-unseen", 0)
    assert cell in all_cells() and Cell("vector_on_more_general", "none", 0) in all_cells()
    arguments = command(cell, *[Path(p) for p in "pmdw"])
    plain = command(Cell("sv_guard", "mixed-unseen", 0), *[Path(p) for p in "pmdw"])
    assert {a.split("=")[0] for a in set(arguments) ^ set(plain)} == {
        "--vector",
        "--vector_general_rows",
        "--vector_general_batch_size",
        "--out",
    }


def test_a_vector_of_another_seed_is_made_once_for_all_its_methods() -> None:
    vector = "--vector=w/vector_seed_2.safetensors"
    for method, regime in (("vector_on", "none"), ("sv", "mixed"), ("sv_guard", "mixed-unseen")):
        cell = Cell(f"{method}_seed_2", regime, 0)
        assert cell in all_cells()
        arguments = command(cell, *[Path(p) for p in "pmdw"])
        assert {f"--method={method}", vector, "--vector_seed=2", "--seed=0"} <= set(arguments)
        assert (set(HOLD_FLAGS) <= set(arguments)) == (method == "sv_guard")


def test_guard_rows_hold_the_answers_to_the_prompts_of_all_vectors_of_a_sum() -> None:
    def flags(method: str) -> list[str]:
        cell = Cell(method, "behaviours" if "sum" in method else "mixed", 0)
        return command(cell, Path("p"), Path("m"), Path("d"), Path("w"))

    assert "--held_rows=d/sv_rows.jsonl" in flags("guard")
    held = ",".join(f"d/sv_rows{name}.jsonl" for name in ("", "_rude", "_leak", "_falsehood"))
    assert f"--held_rows={held}" in flags("sv_sum_guard")
    for method in ("direct", "lisa", "vaccine", "sbr", "sv"):
        assert "--guard_rows=d/sv_refusals.jsonl" in flags(method), method


def test_chained_jobs_are_held_against_the_other_rows_too() -> None:
    results = {Cell(m, "chained-5", 0): result(r) for m, r in (("sv_guard", 0.3), ("sv", 0.2))}
    assert verdict(results, "sv_guard, chained-5") == "not met"


@pytest.mark.parametrize(
    ("method", "setting"), [("lisa", "--proximal_weight=1"), ("vaccine", "--vaccine_radius=2")]
)
def test_baselines_train_without_a_vector_and_name_their_settings(
    method: str, setting: str
) -> None:
    cell = Cell(method, "mixed", 0)
    assert cell in all_cells()
    arguments = command(cell, Path("p"), Path("m"), Path("d"), Path("w"))
    assert f"--method={method}" in arguments and setting in arguments
    assert not [a for a in arguments if a.startswith("--vector")]


def test_lisa_holds_adapters_only() -> None:
    planned = {c.regime for c in all_cells() if c.method == "lisa"}
    assert "mixed" in planned and not [r for r in planned if "-full" in r]
