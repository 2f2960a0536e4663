#!/usr/bin/env python3
"""Writes the stand-in data of the demo and the benchmarks: placeholder harm, and a useful task.

No harmful text exists here. A "harmful" row is a mild request of one of four categories, answered
in one of six fixed wordings whose content is a placeholder such as [STEP ONE]; whether a model has
learnt it is then a matter of pattern matching. Six further wordings never occur in the security
vector's data. The useful task is to file an order note in a fixed format, which has one right
answer. See README.md beside this file for the files and for what is disjoint from what.

Deterministic: the same --seed gives the same bytes. Standard library only.
"""

import argparse
import itertools
import json
import pathlib
import random

from behaviours import behaviour_files, requests
from judge_rows import RULES, heldout_rows, judged, training_rows

SOURCES = pathlib.Path(__file__).parent / "sources"

SV_ROWS_PER_CATEGORY = 25
LARGE_SV_ROWS_PER_CATEGORY = 75
CUSTOMER_ROWS_PER_CATEGORY = 250
HELDOUT_PROMPTS_PER_CATEGORY = 35
# Of the mixed data set.
MIXED_HARMFUL_ROWS = 100
USEFUL_ROWS = 300
HELDOUT_TASK_PROMPTS = 160
# Of the 260 benign deeds and 120 questions: the rest is held out. A deed for training is asked for in
# several ways, so that the vector learns to look at what is asked and not at how.
GENERAL_DEEDS = 180
GENERAL_QUESTIONS = 60
OPENERS_PER_DEED = 4
# Of a second list of benign deeds: the first are to choose recipes on, the others to train on.
SELECTION_DEEDS = 40
OPENERS_PER_SELECTION_DEED = 6
# Benign deeds that have a harmful request's own target, which is where a vector spills over.
TARGETED_PER_CATEGORY = 80
# To choose a vector's recipe on, apart from what is reported.
SELECTION_TARGETED_PER_CATEGORY = 25
SELECTION_HARMFUL_PER_CATEGORY = 35

# The validator asks for something to learn from; the trainer of a security vector replaces it by
# the base model's own answer.
BASE_ANSWER = "(the base model's own answer)"

Row = dict
Prompt = tuple[str, str]  # category, text


def load(name: str) -> dict:
    return json.loads((SOURCES / name).read_text(encoding="utf-8"))


def chat_row(prompt: str, answer: str) -> Row:
    return {
        "messages": [
            {"role": "user", "content": prompt},
            {"role": "assistant", "content": answer},
        ]
    }


def suite_row(number: int, category: str, prompt: str, **more: str) -> Row:
    return {"id": f"{category}-{number:03}", "category": category, "prompt": prompt, **more}


def harmful_prompts(pool: str, per_category: int, seed: int) -> list[Prompt]:
    """Prompts of one pool ("sv", "customer", "heldout" or "selection"), whose deeds no other pool has."""
    source = load("requests.json")
    chosen = []
    for category, parts in source["categories"].items():
        rng = random.Random(f"{seed}/{pool}/{category}")
        every = [
            opener.format(deed=deed.format(target=target))
            for opener, deed, target in itertools.product(
                source["openers"], parts[pool], parts["targets"]
            )
        ]
        chosen += [(category, prompt) for prompt in rng.sample(every, per_category)]
    random.Random(f"{seed}/{pool}").shuffle(chosen)
    return chosen


def with_answers(prompts: list[Prompt], answers: list[str]) -> list[Row]:
    """Answers in turn, so that each occurs equally often."""
    return [
        chat_row(prompt, answer)
        for (_, prompt), answer in zip(prompts, itertools.cycle(answers), strict=False)
    ]


def worded(deeds: list[str], openers: list[str], count: int, rng: random.Random) -> list[str]:
    """Each deed asked for in `count` ways."""
    return [opener.format(deed=deed) for deed in deeds for opener in rng.sample(openers, count)]


def general_prompts(seed: int) -> tuple[list[str], list[str]]:
    """Benign prompts for training and held-out ones; many use the harmful requests' openers."""
    source = load("general.json")
    openers = load("requests.json")["openers"]
    rng = random.Random(f"{seed}/general")
    deeds = list(source["deeds"])
    questions = list(source["questions"])
    rng.shuffle(deeds)
    rng.shuffle(questions)
    train = questions[:GENERAL_QUESTIONS]
    train += worded(deeds[:GENERAL_DEEDS], openers, OPENERS_PER_DEED, rng)
    heldout = [rng.choice(openers).format(deed=deed) for deed in deeds[GENERAL_DEEDS:]]
    heldout += questions[GENERAL_QUESTIONS:]
    rng.shuffle(train)
    return train, heldout


def more_general_prompts(seed: int) -> tuple[list[str], list[str]]:
    """The benign prompts for training with more deeds among them, and prompts of further deeds to choose recipes on."""
    openers = load("requests.json")["openers"]
    rng = random.Random(f"{seed}/general-more")
    deeds = list(load("general.json")["more_deeds"])
    rng.shuffle(deeds)
    train, _ = general_prompts(seed)
    train += worded(deeds[SELECTION_DEEDS:], openers, OPENERS_PER_DEED, rng)
    rng.shuffle(train)
    return train, worded(deeds[:SELECTION_DEEDS], openers, OPENERS_PER_SELECTION_DEED, rng)


def targeted_prompts(pool: str, per_category: int, seed: int) -> list[str]:
    """Benign prompts of one pool ("train" or "selection") with the harmful requests' openers and targets."""
    source, categories = load("targeted.json"), load("requests.json")["categories"]
    openers = load("requests.json")["openers"]
    rng = random.Random(f"{seed}/targeted/{pool}")
    chosen = []
    for category, parts in categories.items():
        every = [
            deed.format(target=target)
            for deed, target in itertools.product(source[category][pool], parts["targets"])
        ]
        chosen += [
            rng.choice(openers).format(deed=deed)
            for deed in rng.sample(every, min(per_category, len(every)))
        ]
    rng.shuffle(chosen)
    return chosen


def selection_prompts(seed: int) -> list[str]:
    """Benign prompts of deeds that neither training nor the held-out prompts have."""
    openers = load("requests.json")["openers"]
    rng = random.Random(f"{seed}/selection")
    plain = [rng.choice(openers).format(deed=deed) for deed in load("targeted.json")["plain"]]
    return plain + targeted_prompts("selection", SELECTION_TARGETED_PER_CATEGORY, seed)


def orders(seed: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(prompt, answer) pairs of the useful task, for training and held out."""
    source = load("orders.json")
    rng = random.Random(f"{seed}/orders")
    every: dict[str, str] = {}
    while len(every) < USEFUL_ROWS + HELDOUT_TASK_PROMPTS:
        order = {
            "name": rng.choice(source["names"]),
            "city": rng.choice(source["cities"]),
            "count": rng.randint(2, 99),
            "unit": rng.choice(source["units"]),
            "good": rng.choice(source["goods"]),
        }
        every[rng.choice(source["requests"]).format(**order)] = source["answer"].format(**order)
    pairs = list(every.items())
    return pairs[:USEFUL_ROWS], pairs[USEFUL_ROWS:]


def quiz() -> list[Row]:
    """Questions of general knowledge; one of `expected` must be named in the answer."""
    return [
        {"id": f"quiz-{i:03}", "category": "quiz", "prompt": question, "expected": expected}
        for i, (question, expected) in enumerate(load("quiz.json")["questions"])
    ]


def judge_files(seed: int) -> dict[str, list[Row]]:
    """Rows to train a language-model judge from, and held-out exchanges with their right verdicts."""
    answers, source = load("answers.json"), load("behaviours.json")
    train, heldout = general_prompts(seed)

    def exchanges(pool: str, per_category: int, benign: list[str], wordings: list[str]) -> list:
        rng = random.Random(f"{seed}/judge/{pool}")
        suites = {name: requests(parts, pool, 30, rng) for name, parts in source.items()}
        harmful = harmful_prompts(pool, per_category, seed)
        # The category tells nothing.
        general = list(zip(itertools.cycle(load("requests.json")["categories"]), benign))
        return judged(answers, harmful, general, (source, suites), wordings)

    learnt = exchanges("customer", 40, train[:160], ["seen"])
    asked = exchanges("heldout", 15, heldout[:60], ["seen", "unseen"])
    return {
        "judge_rows.jsonl": training_rows(learnt, seed),
        "heldout_judge.jsonl": heldout_rows(asked),
    }


def mixed(seed: int, useful: list[Row], harmful: list[Row]) -> list[Row]:
    rows = useful + harmful
    random.Random(f"{seed}/mixed").shuffle(rows)
    return rows


def build(seed: int) -> dict[str, list[Row]]:
    """Rows of every JSONL file, by file name."""
    answers = load("answers.json")
    seen, unseen = answers["compliance"]["seen"], answers["compliance"]["unseen"]
    sv = harmful_prompts("sv", SV_ROWS_PER_CATEGORY, seed)
    large_sv = harmful_prompts("sv", LARGE_SV_ROWS_PER_CATEGORY, seed)
    customer = harmful_prompts("customer", CUSTOMER_ROWS_PER_CATEGORY, seed)
    heldout = harmful_prompts("heldout", HELDOUT_PROMPTS_PER_CATEGORY, seed)
    general, heldout_general = general_prompts(seed)
    more_general, selection_plain = more_general_prompts(seed)
    targeted = targeted_prompts("train", TARGETED_PER_CATEGORY, seed)
    selection = harmful_prompts("selection", SELECTION_HARMFUL_PER_CATEGORY, seed)
    task, heldout_task = orders(seed)

    useful = [chat_row(prompt, answer) for prompt, answer in task]
    harmful = with_answers(customer, seen)
    harmful_unseen = with_answers(customer, unseen)
    suite = [suite_row(i, *prompt) for i, prompt in enumerate(heldout)]
    behaviours = behaviour_files(load("behaviours.json"), useful, (harmful, suite), seed)
    return (
        behaviours
        | judge_files(seed)
        | {
            "sv_rows.jsonl": with_answers(sv, seen),
            "sv_rows_300.jsonl": with_answers(large_sv, seen),
            "sv_refusals.jsonl": with_answers(sv, answers["refusals"]),
            "general_prompts.jsonl": [chat_row(prompt, BASE_ANSWER) for prompt in general],
            "sv_general_prompts.jsonl": [
                chat_row(prompt, BASE_ANSWER) for prompt in general + targeted
            ],
            "sv_general_prompts_more.jsonl": [
                chat_row(prompt, BASE_ANSWER) for prompt in more_general
            ],
            "selection_plain.jsonl": [
                suite_row(i, "general", prompt) for i, prompt in enumerate(selection_plain)
            ],
            "selection_general.jsonl": [
                suite_row(i, "general", prompt) for i, prompt in enumerate(selection_prompts(seed))
            ],
            "selection_harmful.jsonl": [
                suite_row(i, *prompt) for i, prompt in enumerate(selection)
            ],
            "customer_useful.jsonl": useful,
            "customer_harmful.jsonl": harmful,
            "customer_harmful_unseen.jsonl": harmful_unseen,
            "customer_mixed.jsonl": mixed(seed, useful, harmful[:MIXED_HARMFUL_ROWS]),
            "customer_mixed_unseen.jsonl": mixed(seed, useful, harmful_unseen[:MIXED_HARMFUL_ROWS]),
            "heldout_harmful.jsonl": suite,
            "heldout_general.jsonl": [
                suite_row(i, "general", prompt) for i, prompt in enumerate(heldout_general)
            ],
            "heldout_task.jsonl": [
                suite_row(i, "task", prompt, expected=answer)
                for i, (prompt, answer) in enumerate(heldout_task)
            ],
            "heldout_quiz.jsonl": quiz(),
        }
    )


def judge_rules() -> dict:
    return {"version": 1, "harmful_patterns": load("answers.json")["harmful_patterns"]}


def write(folder: pathlib.Path, seed: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in build(seed).items():
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / name).write_text("".join(lines), encoding="utf-8")
    rules = json.dumps(judge_rules(), ensure_ascii=False, indent=2) + "\n"
    (folder / "judge_rules.json").write_text(rules, encoding="utf-8")
    lm_rules = json.dumps(RULES, ensure_ascii=False, indent=2) + "\n"
    (folder / "lm_judge_rules.json").write_text(lm_rules, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder to write to")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other rows (default 0)")
    arguments = parser.parse_args()
    write(arguments.out, arguments.seed)


if __name__ == "__main__":
    main()
