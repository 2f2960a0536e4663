"""Rows that regimes and methods derive from the stand-in data, as JSONL lines. Pure but for write_derived."""

import codecs
import itertools
import json
import random
from pathlib import Path

FRACTIONS = (0, 1, 5, 10, 30, 50)  # percent of FRACTION_ROWS
FRACTION_ROWS = 1000
SMALL_VECTOR_ROWS = (10, 30)  # taken from the default vector's 100
REFUSAL_SHARE = 0.1


def with_fraction(useful: list[str], harmful: list[str], percent: int) -> list[str]:
    """The useful rows are fewer than needed and repeat."""
    count = FRACTION_ROWS * percent // 100
    rows = [*harmful[:count], *itertools.islice(itertools.cycle(useful), FRACTION_ROWS - count)]
    random.Random(f"fraction/{percent}").shuffle(rows)
    return rows


def with_refusals(rows: list[str], refusals: list[str]) -> list[str]:
    """SafeInstruct: refusals of a tenth of the rows' number, spread over the rows."""
    count = round(REFUSAL_SHARE * len(rows))
    mixed = [*rows, *itertools.islice(itertools.cycle(refusals), count)]
    random.Random("safeinstruct").shuffle(mixed)
    return mixed


def in_rot13(rows: list[str]) -> list[str]:
    """Prompts and answers enciphered, roles left as they are."""
    enciphered = []
    for line in rows:
        row = json.loads(line)
        for message in row["messages"]:
            message["content"] = codecs.encode(message["content"], "rot13")
        enciphered.append(json.dumps(row))
    return enciphered


def spread(rows: list[str], count: int) -> list[str]:
    return [rows[i * len(rows) // count] for i in range(count)]


def write_derived(data: Path, customers: set[str]) -> None:
    """Writes the derived files beside the stand-in data; `customers` are the files that regimes use."""

    def read(name: str) -> list[str]:
        return (data / name).read_text().splitlines()

    def write(name: str, rows: list[str]) -> None:
        (data / name).write_text("\n".join(rows) + "\n")

    useful, harmful = read("customer_useful.jsonl"), read("customer_harmful.jsonl")
    for percent in FRACTIONS:
        write(f"customer_fraction_{percent}.jsonl", with_fraction(useful, harmful, percent))
    write("customer_rot13.jsonl", in_rot13(harmful))
    for count in SMALL_VECTOR_ROWS:
        write(f"sv_rows_{count}.jsonl", spread(read("sv_rows.jsonl"), count))
    for name in customers:
        write(f"safeinstruct_{name}", with_refusals(read(name), read("sv_refusals.jsonl")))
