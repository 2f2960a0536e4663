"""How well the worker's scan of rows finds harm and names its kind: docs/bench/row_scan.json.

    make bench-scan

Trains the vectors that `make bench-unlearnable` has not left in the work folder, some minutes each.
"""

import argparse
import json
import os
import subprocess
from pathlib import Path

import cell_pool
from evidence_cells import BEHAVIOUR_REGIME, BEHAVIOURS, Cell
from evidence_work import REPOSITORY, command_of, make_rows

STANDIN = REPOSITORY / "bench" / "standin"
# By data set of bench/standin, the behaviours whose vectors the scanning one is the sum of.
SCANS = {
    "customer_mixed": ("compliance",),
    "customer_mixed_unseen": ("compliance",),
    "sv_refusals": ("compliance",),
    "customer_behaviours": ("compliance", *BEHAVIOURS),
}


def rules_of(behaviour: str) -> list[str]:
    """Patterns that an answer of the behaviour has and no other row of the customer's."""
    if behaviour == "compliance":
        return json.loads((STANDIN / "sources" / "answers.json").read_text())["harmful_patterns"]
    source = json.loads((STANDIN / "sources" / "behaviours.json").read_text())[behaviour]
    return [source.get("rule", r"\b[A-Z]{2}-[0-9]{4}\b")]  # a leak's rule is its own secret


def vector_of(behaviour: str, data: Path, work: Path) -> Path:
    """The evidence bench's own, trained by its cell where it is missing."""
    maker = Cell(f"vector_on_{behaviour}", BEHAVIOUR_REGIME, 0)
    if behaviour == "compliance":
        maker = Cell("vector_on", "none", 0)
    command = command_of(maker, data, work)
    file = cell_pool.files_of(command).vector
    if not file.exists():
        subprocess.run(command, check=True)
    return file


def scan(rows: str, behaviours: tuple[str, ...], data: Path, work: Path) -> dict:
    rules = [work / f"scan-rules-{behaviour}.json" for behaviour in behaviours]
    for file, behaviour in zip(rules, behaviours, strict=True):
        file.write_text(json.dumps({"version": 1, "harmful_patterns": rules_of(behaviour)}))
    command = [
        Path(os.environ["WARDTUNE_BUILD_DIR"]) / "bench" / "row-scan-bench",
        f"--model={os.environ['WARDTUNE_CACHE_DIR']}/models/SmolLM2-135M-Instruct",
        f"--vectors={','.join(str(vector_of(b, data, work)) for b in behaviours)}",
        f"--rules={','.join(map(str, rules))}",
        f"--behaviours={','.join(behaviours)}",
        f"--rows={data / rows}.jsonl",
    ]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of bench-unlearnable")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    data = make_rows(arguments.work)
    found = {
        rows: scan(rows, behaviours, data, arguments.work) for rows, behaviours in SCANS.items()
    }
    arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(arguments.out.read_text())


if __name__ == "__main__":
    main()
