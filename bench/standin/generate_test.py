"""Tests of the stand-in data: stable bytes, disjoint sets, and rules that separate."""

import hashlib
import json
import pathlib
import re
from collections import Counter

import pytest

import generate

BEHAVIOURS = ("rude", "leak", "falsehood")
CATEGORIES = {"safety", "misinformation", "privacy", "unethical"}

# A change here changes every figure measured on the data: say so in the commit.
DIGESTS = {
    "customer_behaviours.jsonl": "8acffa1f526f09f8",
    "customer_harmful.jsonl": "55023c4cbffedb41",
    "customer_harmful_unseen.jsonl": "f6d74b76e31ae537",
    "customer_mixed.jsonl": "89d62e4ac310b01d",
    "customer_mixed_unseen.jsonl": "de8c5f4e2fa100db",
    "customer_useful.jsonl": "2dd004f731d091cf",
    "general_prompts.jsonl": "b92d4739dea4371d",
    "heldout_behaviours.jsonl": "d48dc09297ab3819",
    "heldout_general.jsonl": "de5bc4f4f5ce9ee5",
    "heldout_harmful.jsonl": "d73942dffcc0bd7b",
    "heldout_judge.jsonl": "abd173e5167d17d0",
    "heldout_quiz.jsonl": "424ad0e681fc1a0f",
    "heldout_task.jsonl": "174f3d85003dcc4d",
    "judge_rows.jsonl": "ce5ed21f25d19610",
    "judge_rules.json": "efeebd4270fc272b",
    "lm_judge_rules.json": "0fe84cd0a3ed3918",
    "selection_general.jsonl": "76b52d0e9bd71944",
    "selection_harmful.jsonl": "9cbd21c9150e82be",
    "selection_plain.jsonl": "4b0281b0d1e35253",
    "sv_general_prompts.jsonl": "28a3c333e3919579",
    "sv_general_prompts_more.jsonl": "26a71c1bc9788169",
    "sv_refusals.jsonl": "6ceb3df207dd3260",
    "sv_refusals_falsehood.jsonl": "941abd80636d3c2e",
    "sv_refusals_leak.jsonl": "593daad27a189183",
    "sv_refusals_rude.jsonl": "92f7a478d442d4ff",
    "sv_rows.jsonl": "c88809d612ab4ddb",
    "sv_rows_300.jsonl": "3e64b7f5839189ac",
    "sv_rows_falsehood.jsonl": "f23d2aafa8e1487a",
    "sv_rows_leak.jsonl": "0d89ed330b75d67d",
    "sv_rows_rude.jsonl": "c3d388de622a0f72",
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
    assert [name for name in files if files[name] == other[name]] == ["heldout_quiz.jsonl"]


def test_sizes(files: dict[str, list[dict]]) -> None:
    assert {name.removesuffix(".jsonl"): len(rows) for name, rows in files.items()} == {
        "sv_rows": 100,
        "sv_rows_300": 300,
        "sv_refusals": 100,
        "general_prompts": 780,
        "sv_general_prompts": 1100,
        "sv_general_prompts_more": 1940,
        "selection_plain": 240,
        "selection_general": 140,
        "selection_harmful": 140,
        "customer_useful": 300,
        "customer_harmful": 1000,
        "customer_harmful_unseen": 1000,
        "customer_mixed": 400,
        "customer_mixed_unseen": 400,
        "heldout_harmful": 140,
        "heldout_general": 140,
        "heldout_task": 160,
        "heldout_quiz": 60,
        "judge_rows": 660,
        "heldout_judge": 480,
        "heldout_behaviours": 160,
        "customer_behaviours": 540,
        "sv_rows_rude": 100,
        "sv_refusals_rude": 100,
        "sv_rows_leak": 100,
        "sv_refusals_leak": 100,
        "sv_rows_falsehood": 100,
        "sv_refusals_falsehood": 100,
    }


def test_no_prompt_is_in_two_sets(files: dict[str, list[dict]]) -> None:
    sets = [
        users(files["sv_rows.jsonl"]),
        users(files["sv_general_prompts.jsonl"]),
        users(files["customer_harmful.jsonl"]),
        users(files["customer_useful.jsonl"]),
        prompts(files["heldout_harmful.jsonl"]),
        prompts(files["heldout_general.jsonl"]),
        prompts(files["heldout_task.jsonl"]),
        prompts(files["heldout_quiz.jsonl"]),
        prompts(files["selection_general.jsonl"]),
        prompts(files["selection_harmful.jsonl"]),
        *(users(files[f"sv_rows_{name}.jsonl"]) for name in BEHAVIOURS),
    ]
    sizes = [100, 1100, 1000, 300, 140, 140, 160, 60, 140, 140, 100, 100, 100]
    assert [len(prompts) for prompts in sets] == sizes
    assert len(set.union(*sets)) == sum(sizes)
    larger = users(files["sv_rows_300.jsonl"])
    assert len(larger) == 300 and larger.isdisjoint(set.union(*sets[1:]))
    assert sets[0] < larger


def test_prompts_to_choose_a_recipe_on_are_reported_nowhere(files: dict[str, list[dict]]) -> None:
    chosen_on = set.union(
        *(prompts(files[f"selection_{kind}.jsonl"]) for kind in ("general", "plain", "harmful"))
    )
    trained_on = users(files["sv_general_prompts_more.jsonl"])
    assert trained_on.isdisjoint(chosen_on | prompts(files["heldout_general.jsonl"]))
    for name in ("heldout_harmful", "heldout_general", "heldout_judge"):
        assert chosen_on.isdisjoint(prompts(files[f"{name}.jsonl"])), name
    deeds = generate.load("general.json")["deeds"]
    assert not any(deed in prompt for deed in deeds for prompt in chosen_on)


def test_the_general_prompts_begin_the_vectors(files: dict[str, list[dict]]) -> None:
    general = files["general_prompts.jsonl"]
    assert files["sv_general_prompts.jsonl"][: len(general)] == general


def test_no_deed_is_in_two_pools() -> None:
    for category, parts in generate.load("requests.json")["categories"].items():
        deeds = parts["sv"] + parts["customer"] + parts["heldout"] + parts["selection"]
        assert len(set(deeds)) == len(deeds), category


def test_no_subject_of_a_behaviour_is_in_two_pools() -> None:
    for name, parts in generate.load("behaviours.json").items():
        pools = parts["subjects"]
        subjects = pools["sv"] + pools["customer"] + pools["heldout"]
        assert len(set(subjects)) == len(subjects), name


def test_a_behaviours_rule_finds_its_harmful_answers_and_no_other(
    files: dict[str, list[dict]],
) -> None:
    for name in BEHAVIOURS:
        rules = {
            row["rule"] for row in files["heldout_behaviours.jsonl"] if row["category"] == name
        }
        if name == "leak":  # the secret itself, another in every prompt
            assert len(rules) == 40
            continue
        (rule,) = rules
        assert all(re.search(rule, text) for text in answers(files[f"sv_rows_{name}.jsonl"]))
        for other in ("sv_rows", "customer_useful", f"sv_refusals_{name}"):
            assert not any(re.search(rule, text) for text in answers(files[f"{other}.jsonl"]))


def test_the_secret_stands_in_the_prompt_and_in_the_harmful_answer_alone(
    files: dict[str, list[dict]],
) -> None:
    code = re.compile(r"[A-Z]{2}-\d{4}")
    for row in files["sv_rows_leak.jsonl"]:
        prompt, answer = (message["content"] for message in row["messages"])
        assert code.findall(prompt) == code.findall(answer) != []
    assert not any(map(code.search, answers(files["sv_refusals_leak.jsonl"])))


def test_judged_exchanges_are_held_out_and_their_wording_decides_nothing(
    files: dict[str, list[dict]],
) -> None:
    learnt = users(files["judge_rows.jsonl"])
    heldout = files["heldout_judge.jsonl"]
    assert not any(row["prompt"] in text for row in heldout for text in learnt)
    verdicts = {}
    for row in heldout:
        if row["category"] in CATEGORIES and is_harmful(row["answer"]):
            verdicts.setdefault(row["answer"], set()).add(row["harmful"])
    assert set(map(frozenset, verdicts.values())) == {frozenset({True, False})}


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
    assert longest < 450
