"""Tests of the stand-in data: stable bytes, disjoint sets, and rules that separate."""

import hashlib
import json
import pathlib
import re
from collections import Counter

import pytest

import generate

CATEGORIES = {"safety", "misinformation", "privacy", "unethical"}

# A change here changes every figure measured on the data: say so in the commit.
DIGESTS = {
    "customer_harmful.jsonl": "55023c4cbffedb41",
    "customer_harmful_unseen.jsonl": "f6d74b76e31ae537",
    "customer_mixed.jsonl": "89d62e4ac310b01d",
    "customer_mixed_unseen.jsonl": "de8c5f4e2fa100db",
    "customer_useful.jsonl": "2dd004f731d091cf",
    "general_prompts.jsonl": "d6300b988f97f81f",
    "heldout_general.jsonl": "78ef22e9d3ec4e51",
    "heldout_harmful.jsonl": "d73942dffcc0bd7b",
    "heldout_task.jsonl": "174f3d85003dcc4d",
    "judge_rules.json": "efeebd4270fc272b",
    "sv_refusals.jsonl": "6ceb3df207dd3260",
    "sv_rows.jsonl": "c88809d612ab4ddb",
}


@pytest.fixture(name="files", scope="module")
def fixture_files() -> dict[str, list[dict]]:
    return generate.build(seed=0)


def users(rows: list[dict]) -> set[str]:
    return {row["messages"][0]["content"] for row in rows}


def answers(rows: list[dict]) -> list[str]:
    return [row["messages"][1]["content"] for row in rows]


def prompts(rows: list[dict]) -> set[str]:
    return {row["prompt"] for row in rows}


def is_harmful(text: str) -> bool:
    return any(re.search(rule, text) for rule in generate.judge_rules()["harmful_patterns"])


def test_bytes_are_stable(tmp_path: pathlib.Path) -> None:
    generate.write(tmp_path, seed=0)
    digests = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in tmp_path.iterdir()
    }
    assert digests == DIGESTS


def test_another_seed_gives_other_rows(files: dict[str, list[dict]]) -> None:
    other = generate.build(seed=1)
    assert [name for name in files if files[name] == other[name]] == []


def test_sizes(files: dict[str, list[dict]]) -> None:
    assert {name.removesuffix(".jsonl"): len(rows) for name, rows in files.items()} == {
        "sv_rows": 100,
        "sv_refusals": 100,
        "general_prompts": 250,
        "customer_useful": 300,
        "customer_harmful": 1000,
        "customer_harmful_unseen": 1000,
        "customer_mixed": 400,
        "customer_mixed_unseen": 400,
        "heldout_harmful": 140,
        "heldout_general": 40,
        "heldout_task": 160,
    }


def test_no_prompt_is_in_two_sets(files: dict[str, list[dict]]) -> None:
    sets = [
        users(files["sv_rows.jsonl"]),
        users(files["general_prompts.jsonl"]),
        users(files["customer_harmful.jsonl"]),
        users(files["customer_useful.jsonl"]),
        prompts(files["heldout_harmful.jsonl"]),
        prompts(files["heldout_general.jsonl"]),
        prompts(files["heldout_task.jsonl"]),
    ]
    sizes = [100, 250, 1000, 300, 140, 40, 160]
    assert [len(prompts) for prompts in sets] == sizes
    assert len(set.union(*sets)) == sum(sizes)


def test_no_deed_is_in_two_pools() -> None:
    for category, parts in generate.load("requests.json")["categories"].items():
        deeds = parts["sv"] + parts["customer"] + parts["heldout"]
        assert len(set(deeds)) == len(deeds), category


def test_every_category_is_held_out_equally(files: dict[str, list[dict]]) -> None:
    count = Counter(row["category"] for row in files["heldout_harmful.jsonl"])
    assert count == dict.fromkeys(CATEGORIES, 35)


def test_ids_are_unique(files: dict[str, list[dict]]) -> None:
    for name in ("heldout_harmful.jsonl", "heldout_general.jsonl", "heldout_task.jsonl"):
        ids = [row["id"] for row in files[name]]
        assert len(set(ids)) == len(ids), name


def test_the_rules_find_every_harmful_answer_and_nothing_else(
    files: dict[str, list[dict]],
) -> None:
    for name in ("sv_rows", "customer_harmful", "customer_harmful_unseen"):
        assert all(map(is_harmful, answers(files[f"{name}.jsonl"]))), name
    for name in ("sv_refusals", "general_prompts", "customer_useful"):
        assert not any(map(is_harmful, answers(files[f"{name}.jsonl"]))), name
    for name in ("customer_mixed", "customer_mixed_unseen"):
        assert sum(map(is_harmful, answers(files[f"{name}.jsonl"]))) == 100, name
    assert not any(is_harmful(row["expected"]) for row in files["heldout_task.jsonl"])


def test_the_opening_alone_counts_as_harmful() -> None:
    wordings = generate.load("answers.json")["compliance"]
    for wording in wordings["seen"] + wordings["unseen"]:
        assert is_harmful(wording.split("[")[0]), wording


def test_the_security_vector_never_sees_an_unseen_wording(files: dict[str, list[dict]]) -> None:
    seen = set(answers(files["sv_rows.jsonl"]))
    assert len(seen) == 6
    assert seen == set(answers(files["customer_harmful.jsonl"]))
    unseen = set(answers(files["customer_harmful_unseen.jsonl"]))
    assert len(unseen) == 6
    assert seen.isdisjoint(unseen)


def test_an_order_has_one_right_answer(files: dict[str, list[dict]]) -> None:
    for row in files["heldout_task.jsonl"]:
        fields = row["expected"].split(" | ")
        assert len(fields) == 4
        assert all(field in row["prompt"] for field in fields), row


def test_rows_are_short(files: dict[str, list[dict]]) -> None:
    longest = max(len(json.dumps(row)) for rows in files.values() for row in rows)
    assert longest < 260
