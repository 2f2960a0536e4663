#!/usr/bin/env python3
"""Checks that each room includes only what docs/architecture.md lets it include.

Prints `file:line: reason` for every include that breaks a rule and then exits with 1.
"""

import pathlib
import re
import sys
from typing import NamedTuple

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')
SOURCES = {".h", ".hpp", ".cc", ".cpp"}
ROOMS = ("base", "formats", "storage", "server", "worker", "bench", "tests")


class Rule(NamedTuple):
    rooms: tuple[str, ...]
    forbidden: re.Pattern[str]
    reason: str


TORCH = re.compile(r"(torch|ATen|c10)/")
RULES = (
    Rule(
        ("base", "formats", "storage", "server"),
        TORCH,
        "only worker/, bench/ and tests/ may use LibTorch",
    ),
    Rule(
        tuple(room for room in ROOMS if room != "storage"),
        re.compile(r"sqlite3(ext)?\.h$"),
        "only storage/ may use SQLite",
    ),
    Rule(
        ("worker",), re.compile(r"(storage|server)/"), "worker/ talks to the server by gRPC alone"
    ),
    Rule(("server",), re.compile(r"worker/"), "server/ talks to the worker by gRPC alone"),
    Rule(
        ("storage",), re.compile(r"(server|worker|formats)/"), "storage/ is below the other rooms"
    ),
    Rule(
        ("formats",), re.compile(r"(storage|server|worker)/"), "formats/ is below the other rooms"
    ),
    Rule(
        ("base",), re.compile(r"(formats|storage|server|worker)/"), "base/ is below the other rooms"
    ),
)


def violations(root: pathlib.Path) -> list[str]:
    """Every broken rule below `root`, as one line each."""
    found = []
    for room in ROOMS:
        for path in sorted((root / room).rglob("*")):
            if path.suffix not in SOURCES:
                continue
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
                match = INCLUDE.match(line)
                found += [
                    f"{path.relative_to(root)}:{number}: includes {match[1]}: {rule.reason}"
                    for rule in RULES
                    if match and room in rule.rooms and rule.forbidden.match(match[1])
                ]
    return found


def main() -> int:
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    found = violations(root)
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
