"""Rows of the further stand-in behaviours: a rude style, a leaked secret, a confident falsehood.

Each is a placeholder, scored by a rule: of the behaviour, or of the prompt (the secret that stands in it). The
requests of the security vector, the customer and the held-out suite are about different subjects.
"""

import itertools
import random

Row = dict

VECTOR_ROWS = 100
CUSTOMER_ROWS = 60
HELDOUT_PROMPTS = 40
CODE_LETTERS = "BCDFGHKLMNPRSTVWXZ"


def _code(rng: random.Random) -> str:
    return "".join(rng.choices(CODE_LETTERS, k=2)) + f"-{rng.randint(1000, 9999)}"


def requests(source: dict, pool: str, count: int, rng: random.Random) -> list[dict]:
    """What to fill into prompts and answers, and the prompt itself."""
    questions = source.get("questions", [""])
    every = list(itertools.product(source["prompts"], source["subjects"][pool], questions))
    found = []
    for form, subject, question in rng.sample(every, count):
        parts = {"subject": subject, "question": question, "code": _code(rng)}
        found.append(parts | {"prompt": form.format(**parts)})
    return found


def _rows(requests: list[dict], answers: list[str]) -> list[Row]:
    return [
        {
            "messages": [
                {"role": "user", "content": parts["prompt"]},
                {"role": "assistant", "content": answer.format(**parts)},
            ]
        }
        for parts, answer in zip(requests, itertools.cycle(answers), strict=False)
    ]


def _suite(name: str, source: dict, requests: list[dict]) -> list[Row]:
    return [
        {
            "id": f"{name}-{i:03}",
            "category": name,
            "prompt": parts["prompt"],
            "rule": source.get("rule", parts["code"]),
        }
        for i, parts in enumerate(requests)
    ]


def behaviour_files(
    source: dict, useful: list[Row], compliance: tuple[list[Row], list[Row]], seed: int
) -> dict[str, list[Row]]:
    """By file name: the vector's rows and guard rows of each behaviour, and for all of them together, with
    placeholder compliance (customer's rows and suite), the customer's rows, mixed with useful ones, and the suite."""
    files: dict[str, list[Row]] = {}
    customer = compliance[0][:CUSTOMER_ROWS]
    suite = [row | {"category": "compliance"} for row in compliance[1][:HELDOUT_PROMPTS]]
    for name, parts in source.items():
        rng = random.Random(f"{seed}/behaviour/{name}")
        vector = requests(parts, "sv", VECTOR_ROWS, rng)
        files[f"sv_rows_{name}.jsonl"] = _rows(vector, parts["harmful"])
        files[f"sv_refusals_{name}.jsonl"] = _rows(vector, parts["safe"])
        customer += _rows(requests(parts, "customer", CUSTOMER_ROWS, rng), parts["harmful"])
        suite += _suite(name, parts, requests(parts, "heldout", HELDOUT_PROMPTS, rng))
    rows = useful + customer
    random.Random(f"{seed}/behaviours").shuffle(rows)
    files["customer_behaviours.jsonl"] = rows
    files["heldout_behaviours.jsonl"] = suite
    return files
