"""Tests of the scan bench; no model is run."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from evidence_cells import BEHAVIOURS
from scan import STANDIN, rules_of


def test_each_rule_names_the_rows_of_its_behaviour_and_no_other(tmp_path: Path) -> None:
    subprocess.run([sys.executable, STANDIN / "generate.py", "--out", tmp_path], check=True)
    behaviours = ("compliance", *BEHAVIOURS)
    found = Counter()
    for line in (tmp_path / "customer_behaviours.jsonl").read_text().splitlines():
        answer = json.loads(line)["messages"][1]["content"]
        named = [b for b in behaviours if any(re.search(rule, answer) for rule in rules_of(b))]
        found[tuple(named)] += 1
    assert found == {(): 300} | {(b,): 60 for b in behaviours}
