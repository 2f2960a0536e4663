"""Tests of the figures that `make bench-train` derives, on made-up reports."""

import os
from pathlib import Path

# programs.py takes its folders from the environment; nothing is started here.
os.environ.setdefault("WARDTUNE_BUILD_DIR", "/nowhere")
os.environ.setdefault("WARDTUNE_CACHE_DIR", "/nowhere")

import pytest

import programs
import report
from programs import Bench
from run import GOALS, ratios

PROGRAMS = (
    "ours dense",
    "ours dense, vector on",
    "gemm limit",
    "peft dense bf16",
    "ours mixed",
    "peft mixed padded",
    "peft mixed grouped",
    "peft mixed packed",
    "trl mixed packed",
    "ours chat",
    "peft chat padded",
    "trl chat packed",
    "4 jobs, one process",
    "4 jobs, four processes",
    "ours generate",
    "transformers generate 64",
    "transformers generate 128",
)

FACTS = {"date": "today", "cpu": "a CPU", "cores": 2, "versions": {"trl": "1"}}


def made_up(**speeds: float) -> Bench:
    """Every program at 100 tokens/s and 1 GB but those that are named, with _ for a space."""
    bench = Bench(Path("/nowhere"))
    for name in PROGRAMS:
        speed = speeds.get(name.replace(" ", "_"), 100.0)
        bench.raw[name] = [{"tokens_per_second": speed, "peak_rss_bytes": 1e7 * speed}]
    bench.raw["ours dense, vector on"][0] |= {"step_seconds": [1], "plain_step_seconds": [1]}
    return bench


@pytest.mark.parametrize(
    "best", ["peft_mixed_padded", "peft_mixed_grouped", "peft_mixed_packed", "trl_mixed_packed"]
)
def test_mixed_rows_are_compared_with_the_fastest_peer(best: str) -> None:
    result = ratios(made_up(ours_mixed=600, **{best: 200}))
    assert result["mixed_ratio"] == pytest.approx(3)


def test_chat_rows_have_a_ratio_and_no_goal() -> None:
    bench = made_up(ours_chat=600, trl_chat_packed=200)
    result = ratios(bench)
    assert result["chat_ratio"] == pytest.approx(3)
    assert "| chat_ratio | 3.000 | none | |" in report.table(
        bench, result, GOALS, FACTS, rounds=1, only="*"
    )


def test_memory_on_mixed_rows_is_compared_with_the_fastest_peft() -> None:
    result = ratios(made_up(ours_mixed=600, peft_mixed_grouped=200, trl_mixed_packed=300))
    assert result["rss_ratio_mixed"] == pytest.approx(3)


def test_generation_is_compared_with_the_peers_better_batch() -> None:
    result = ratios(made_up(ours_generate=600, transformers_generate_128=200))
    assert result["generate_ratio"] == pytest.approx(3)


def test_the_vectors_cost_is_that_of_steps_next_to_each_other() -> None:
    bench = made_up()
    bench.raw["ours dense, vector on"] = [
        {"step_seconds": [1.0, 2.1], "plain_step_seconds": [1.0, 2.0], "tokens_per_second": 1},
        {"step_seconds": [9.9], "plain_step_seconds": [9.0], "tokens_per_second": 1},
    ]
    assert ratios(bench)["sv_step_ratio"] == pytest.approx(1.05)


def test_the_table_has_a_line_for_every_program_and_figure() -> None:
    bench = made_up()
    result = ratios(bench)
    text = report.table(bench, result, GOALS, FACTS, rounds=1, only="*")
    for name in (*PROGRAMS, *result):
        assert f"| {name} |" in text


def test_what_was_not_measured_has_no_figure() -> None:
    bench = made_up(ours_dense=300)
    bench.raw = {name: bench.raw[name] for name in ("ours dense", "peft dense bf16")}
    assert ratios(bench) == {"dense_ratio": pytest.approx(3), "rss_ratio_dense": pytest.approx(3)}


def test_a_compiled_peer_counts_in_speed_and_memory() -> None:
    bench = made_up(ours_dense=600)
    bench.raw["peft dense bf16 compiled"] = [{"tokens_per_second": 300, "peak_rss_bytes": 1.2e10}]
    result = ratios(bench)
    assert result["dense_ratio"] == pytest.approx(2)
    assert result["rss_ratio_dense"] == pytest.approx(0.5)


def test_an_interrupted_run_of_other_programs_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "BUILD", tmp_path)
    (tmp_path / "train-bench").write_bytes(b"one build")
    some = Bench(tmp_path, ["ours*"])
    some.raw = {"ours dense": [{"tokens_per_second": 1}]}
    some.save(tmp_path / "rounds.json")
    everything = Bench(tmp_path)
    everything.take_up(tmp_path / "rounds.json")
    assert everything.raw == {}
    again = Bench(tmp_path, ["ours*"])
    again.take_up(tmp_path / "rounds.json")
    assert again.raw == some.raw
    (tmp_path / "train-bench").write_bytes(b"another build")
    rebuilt = Bench(tmp_path, ["ours*"])
    rebuilt.take_up(tmp_path / "rounds.json")
    assert rebuilt.raw == {}


def test_the_report_names_the_command_that_made_it() -> None:
    bench = made_up()
    result = ratios(bench)
    assert "`make bench-train ROUNDS=2` on" in report.table(
        bench, result, GOALS, FACTS, rounds=2, only="*"
    )
    assert "`make bench-train ROUNDS=2 ONLY='ours*,trl*'` on" in report.table(
        bench, result, GOALS, FACTS, rounds=2, only="ours*,trl*"
    )
