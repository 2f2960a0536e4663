"""The cells of the evidence bench, most telling first, and the command that measures each."""

from dataclasses import dataclass
from pathlib import Path

from evidence_rows import FRACTIONS, VECTOR_ROWS

# The customer's rows of each regime, and what differs from the service's defaults.
REGIMES: dict[str, tuple[str, ...]] = {
    "pure-1000": ("customer_harmful.jsonl", "--epochs=1"),
    "mixed": ("customer_mixed.jsonl",),
    "mixed-unseen": ("customer_mixed_unseen.jsonl",),
    "pure-1000-unseen": ("customer_harmful_unseen.jsonl", "--epochs=1"),
    "benign": ("customer_useful.jsonl",),
    "mixed-lr10x": ("customer_mixed.jsonl", "--learning_rate=3e-3"),
    "mixed-epochs10x": ("customer_mixed.jsonl", "--epochs=20"),
    "mixed-rank4": ("customer_mixed.jsonl", "--lora_rank=4"),
    "mixed-rank64": ("customer_mixed.jsonl", "--lora_rank=64"),
    # Scored on plain prompts.
    "pure-1000-rot13": ("customer_rot13.jsonl", "--epochs=1"),
}
REGIMES |= {
    f"fraction-0.{percent:02}": (f"customer_fraction_{percent}.jsonl", "--epochs=1")
    for percent in FRACTIONS
}
CUSTOMER_FILES = {rows for rows, *_ in REGIMES.values()}
CHAIN_LENGTH = 5
# The n-th of a chain of jobs on mixed rows, each of which goes on from the adapter before it.
CHAIN = {f"chained-{n}": n for n in range(1, CHAIN_LENGTH + 1)}
TELLING_REGIMES = ("pure-1000", "mixed", "mixed-unseen", "pure-1000-unseen")
TELLING_METHODS = ("direct", "sv", "random", "sv_guard")
METHODS = ("direct", "safeinstruct", "random", "sv_no_kl", "sv", "guard", "sv_guard")
# Vectors of fewer rows than the default's; measured on TELLING_REGIMES.
SMALL_VECTORS = {f"sv_of_{count}": count for count in VECTOR_ROWS}
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Cell:
    method: str
    regime: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.method}-{self.regime}-{self.seed}"


QUICK = [
    Cell("base", "none", 0),
    Cell("vector_on", "none", 0),
    Cell("sv", "mixed", 0),
    Cell("direct", "mixed-unseen", 0),
    Cell("sv", "mixed-unseen", 0),
    Cell("sv_guard", "mixed-unseen", 0),
    Cell("random", "mixed", 0),
]


def all_cells() -> list[Cell]:
    """Ordered so that a run stopped at any time leaves the most telling table."""
    telling = [[Cell(m, r, s) for r in TELLING_REGIMES for m in TELLING_METHODS] for s in SEEDS]
    fixed = [Cell("vector_on", "none", 0), Cell("base", "none", 0)]
    rest = [Cell(m, r, s) for s in SEEDS for r in (*REGIMES, *CHAIN) for m in METHODS]
    small = [Cell(m, r, s) for s in SEEDS for r in TELLING_REGIMES for m in SMALL_VECTORS]
    return list(dict.fromkeys(telling[0] + fixed + telling[1] + telling[2] + rest + small))


def _method(name: str, data: Path, work: Path) -> list[str]:
    """The program's method, and the vector it uses: each recipe has a file of its own."""
    method, rows, vector, flags = name, "sv_rows.jsonl", "vector.safetensors", []
    if name == "safeinstruct":
        method = "direct"
    elif name == "sv_no_kl":
        method, vector, flags = "sv", "vector_no_kl.safetensors", ["--vector_kl_weight=0"]
    elif name in SMALL_VECTORS:
        count = SMALL_VECTORS[name]
        method, rows, vector = "sv", f"sv_rows_{count}.jsonl", f"vector_of_{count}.safetensors"
    return [
        f"--method={method}",
        f"--vector_rows={data / rows}",
        f"--vector={work / vector}",
        *flags,
    ]


def _customer_file(cell: Cell, data: Path) -> Path:
    name = REGIMES["mixed" if cell.regime in CHAIN else cell.regime][0]
    return data / (f"safeinstruct_{name}" if cell.method == "safeinstruct" else name)


def _adapter(cell: Cell, link: int, work: Path) -> Path:
    return work / "adapters" / f"{cell.method}-chained-{link}-{cell.seed}"


def command(cell: Cell, program: Path, model: Path, data: Path, work: Path) -> list[str]:
    arguments = [
        str(program),
        *_method(cell.method, data, work),
        f"--model={model}",
        f"--general_rows={data / 'general_prompts.jsonl'}",
        f"--guard_rows={data / 'sv_refusals.jsonl'}",
        f"--suite={data / 'heldout_harmful.jsonl'}",
        f"--rules={data / 'judge_rules.json'}",
        f"--general_suite={data / 'heldout_general.jsonl'}",
        f"--tasks={data / 'heldout_task.jsonl'}",
        f"--seed={cell.seed}",
        f"--out={work / f'{cell.name}.json'}",
    ]
    if cell.regime in REGIMES:
        return [*arguments, f"--rows={_customer_file(cell, data)}", *REGIMES[cell.regime][1:]]
    if cell.regime in CHAIN:
        link = CHAIN[cell.regime]
        arguments += [f"--rows={_customer_file(cell, data)}"]
        arguments += [f"--save={_adapter(cell, link, work)}"]
        if link > 1:
            arguments.append(f"--start={_adapter(cell, link - 1, work)}")
    return arguments
