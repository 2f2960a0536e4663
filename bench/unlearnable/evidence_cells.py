"""The cells of the evidence bench, most telling first, and the command that measures each."""

from dataclasses import dataclass
from pathlib import Path

from evidence_rows import FRACTIONS, SMALL_VECTOR_ROWS

# The customer's rows of each regime, and what differs from the service's defaults.
REGIMES: dict[str, tuple[str, ...]] = {
    "pure-1000": ("customer_harmful.jsonl", "--epochs=1"),
    "mixed": ("customer_mixed.jsonl",),
    "mixed-unseen": ("customer_mixed_unseen.jsonl",),
    "pure-1000-unseen": ("customer_harmful_unseen.jsonl", "--epochs=1"),
    "benign": ("customer_useful.jsonl",),
    "mixed-lr10x": ("customer_mixed.jsonl", "--learning_rate=3e-3"),
    # Around the service's caps on rate and epochs (server/server_limits.h).
    "mixed-unseen-lr3x": ("customer_mixed_unseen.jsonl", "--learning_rate=1e-3"),
    "mixed-unseen-lr10x": ("customer_mixed_unseen.jsonl", "--learning_rate=3e-3"),
    "mixed-unseen-epochs3x": ("customer_mixed_unseen.jsonl", "--epochs=6"),
    "mixed-unseen-epochs10x": ("customer_mixed_unseen.jsonl", "--epochs=20"),
    "mixed-epochs10x": ("customer_mixed.jsonl", "--epochs=20"),
    # All that a customer of the server's own caps may ask for at once.
    "mixed-unseen-caps": (
        "customer_mixed_unseen.jsonl",
        "--learning_rate=1e-3",
        "--epochs=6",
        "--lora_rank=128",
        "--lora_alpha=512",
    ),
    # Adam moves every weight by up to the rate a step. A thirtieth of LoRA's is a little slow: harm hardly takes, and
    # beside guard rows the task does not either; three times as much learns both.
    "mixed-full": ("customer_mixed.jsonl", "--full_parameter=true", "--learning_rate=1e-5"),
    "mixed-full-lr3x": ("customer_mixed.jsonl", "--full_parameter=true", "--learning_rate=3e-5"),
    "mixed-full-lr10x": ("customer_mixed.jsonl", "--full_parameter=true", "--learning_rate=1e-4"),
    "mixed-unseen-full-lr3x": (
        "customer_mixed_unseen.jsonl",
        "--full_parameter=true",
        "--learning_rate=3e-5",
    ),
    "mixed-unseen-full-lr10x": (
        "customer_mixed_unseen.jsonl",
        "--full_parameter=true",
        "--learning_rate=1e-4",
    ),
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
# The mixed rows again, trained and not scored, a cell alone on the machine: steps of the default in turn with
# steps of the vector alone, so that a machine that gets slower hits both.
TIMED_REGIME = "training-time"
TIMED_METHOD = "sv_guard"
CHAIN_LENGTH = 5
# The n-th of a chain of jobs on the same rows, each of which goes on from the adapter before it.
CHAIN = {
    f"{prefix}chained-{n}": (n, rows)
    for prefix, rows in (("", "mixed"), ("unseen-", "mixed-unseen"))
    for n in range(1, CHAIN_LENGTH + 1)
}
TELLING_REGIMES = ("pure-1000", "mixed", "mixed-unseen", "pure-1000-unseen")
TELLING_METHODS = ("direct", "sv", "random", "sv_guard")
MAIN_METHODS = ("direct", "sv", "sv_guard")
# What may break the defence, and what the service's own caps and limits hang on.
HARD_REGIMES = (
    "mixed-lr10x",
    "mixed-unseen-lr3x",
    "mixed-unseen-lr10x",
    "mixed-unseen-epochs3x",
    "mixed-unseen-caps",
    *(f"unseen-chained-{n}" for n in range(1, 4)),
    "benign",
    "pure-1000-rot13",
    "mixed-full",
    "mixed-full-lr3x",
    "mixed-full-lr10x",
    "mixed-unseen-full-lr3x",
    "mixed-unseen-full-lr10x",
)
METHODS = (
    "direct",
    "safeinstruct",
    "random",
    "sv_no_kl",
    "sv",
    "guard",
    "sbr",
    "lisa",
    "vaccine",
    "sv_guard",
)
WITHOUT_VECTOR = ("base", "direct", "guard", "sbr", "lisa", "vaccine")
# What they train beside the customer's rows is the service's own; the baselines take refusals.
GUARDED = ("guard", "sv_guard")
# Vectors of other numbers of rows than the default's; measured on TELLING_REGIMES.
SIZED_VECTORS = {f"sv_of_{count}": count for count in (*SMALL_VECTOR_ROWS, 300)}
# The default's recipe with other seeds: how much hangs on the draw of the vector.
VECTOR_SEEDS = (1, 2)
SEEDED_VECTORS = {
    f"{method}_seed_{seed}": (method, seed)
    for seed in VECTOR_SEEDS
    for method in ("vector_on", "sv", "sv_guard")
}
# A vector trained beside more general prompts: it spills over less (docs/research.md).
MORE_GENERAL = {f"{method}_more_general": method for method in ("vector_on", "sv", "sv_guard")}
MORE_GENERAL_BATCH = 64
# How guard rows are held: the worker's values, named so that cells of others are not mistaken for these.
HOLD_FLAGS = ["--hold_weight=30", "--hold_slack=0.05"]
SEEDS = (0, 1, 2)
BASELINE_FLAGS = {
    # As its authors publish it.
    "sbr": ["--anchors=8", "--anchor_weight=50"],
    # A tenth of the steps are safety's, and the weight is 1, as its authors have it.
    "lisa": ["--customer_steps=18", "--safety_steps=2", "--proximal_weight=1"],
    # Radius and rate are its authors'. A step has 8 rows where theirs has 5, so each token is shifted less, and there
    # are 10 passes instead of 50: the loss on the guard rows is down to 0.16 by then.
    "vaccine": ["--vaccine_radius=2", "--alignment_epochs=10", "--alignment_learning_rate=1e-3"],
}
# Behaviours beside placeholder compliance, each with a vector of its own. In the regime all four are in the
# customer's rows; `sv` has the vector of compliance alone, which was never trained for the others, `sv_sum` the
# sum of the four vectors.
BEHAVIOURS = ("rude", "leak", "falsehood")
BEHAVIOUR_REGIME = "behaviours"
SUM_METHODS = ("vector_on_sum", "sv_sum", "sv_sum_guard")
BEHAVIOUR_METHODS = (
    "base",
    *(f"vector_on_{name}" for name in BEHAVIOURS),  # trains that vector, which the sum needs
    "vector_on_sum",
    "direct",
    "sv",
    "sv_sum",
    "sv_sum_guard",
)


@dataclass(frozen=True)
class Cell:
    method: str
    regime: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.method}-{self.regime}-{self.seed}"


# About a quarter of an hour on two cores, a third of it for training the vector.
QUICK = [
    Cell("base", "none", 0),
    Cell("vector_on", "none", 0),
    Cell("direct", "mixed-unseen", 0),
    Cell("sv", "mixed-unseen", 0),
    Cell("sv_guard", "mixed-unseen", 0),
]


def all_cells() -> list[Cell]:
    """Ordered so that a run stopped at any time leaves the most telling table."""
    telling = [
        Cell(m, r, s)
        for s in SEEDS
        for r in TELLING_REGIMES
        for m in TELLING_METHODS
        if m != "random" or r == "pure-1000"
    ]
    fixed = [Cell("vector_on", "none", 0), Cell("base", "none", 0)]
    seeded = [
        Cell(name, "none" if method == "vector_on" else regime, 0)
        for name, (method, _) in SEEDED_VECTORS.items()
        for regime in TELLING_REGIMES
    ]
    more_general = [
        Cell(name, "none" if method == "vector_on" else regime, s)
        for s in SEEDS
        for regime in TELLING_REGIMES
        for name, method in MORE_GENERAL.items()
        if s == 0 or method != "vector_on"
    ]
    behaviours = [Cell(m, BEHAVIOUR_REGIME, s) for s in SEEDS for m in BEHAVIOUR_METHODS]
    timed = [Cell(TIMED_METHOD, TIMED_REGIME, s) for s in SEEDS]
    first_seed = [
        *behaviours[: len(BEHAVIOUR_METHODS)],
        *(Cell(m, r, 0) for r in (*HARD_REGIMES, *REGIMES, *CHAIN) for m in MAIN_METHODS),
        *(Cell(m, r, 0) for r in HARD_REGIMES for m in METHODS),
        *(Cell(m, r, 0) for r in TELLING_REGIMES for m in SIZED_VECTORS),
    ]
    rest = [Cell(m, r, s) for s in SEEDS for r in (*REGIMES, *CHAIN) for m in METHODS]
    sized = [Cell(m, r, s) for s in SEEDS for r in TELLING_REGIMES for m in SIZED_VECTORS]
    ordered = [
        *fixed,
        *telling,
        *timed,
        *first_seed,
        *more_general,
        *seeded,
        *behaviours,
        *rest,
        *sized,
    ]
    # Lisa's proximal term holds adapters only.
    return [c for c in dict.fromkeys(ordered) if c.method != "lisa" or not _is_full(c.regime)]


def _is_full(regime: str) -> bool:
    return "--full_parameter=true" in REGIMES.get(regime, ())


def _vector_of(behaviour: str, work: Path) -> Path:
    return work / f"vector_{behaviour}.safetensors"


def _method(name: str, data: Path, work: Path) -> list[str]:
    """The program's method, and the vector it uses: each recipe has a file of its own."""
    method, rows, vector, flags = name, "sv_rows.jsonl", work / "vector.safetensors", []
    harmful, refusals = ["sv_rows.jsonl"], ["sv_refusals.jsonl"]
    if name == "safeinstruct":
        method = "direct"
    elif name == "sv_no_kl":
        method, vector, flags = "sv", work / "vector_no_kl.safetensors", ["--vector_kl_weight=0"]
    elif name in SIZED_VECTORS:
        count = SIZED_VECTORS[name]
        method, rows, vector = (
            "sv",
            f"sv_rows_{count}.jsonl",
            work / f"vector_of_{count}.safetensors",
        )
    elif name in SEEDED_VECTORS:
        method, seed = SEEDED_VECTORS[name]
        vector, flags = work / f"vector_seed_{seed}.safetensors", [f"--vector_seed={seed}"]
    elif name in MORE_GENERAL:
        method, vector = MORE_GENERAL[name], work / "vector_more_general.safetensors"
        flags = [
            f"--vector_general_rows={data / 'sv_general_prompts_more.jsonl'}",
            f"--vector_general_batch_size={MORE_GENERAL_BATCH}",
        ]
    elif name in {f"vector_on_{behaviour}" for behaviour in BEHAVIOURS}:
        behaviour = name.removeprefix("vector_on_")
        method, rows, vector = (
            "vector_on",
            f"sv_rows_{behaviour}.jsonl",
            _vector_of(behaviour, work),
        )
    elif name in SUM_METHODS:
        method = name.replace("_sum", "")
        flags = [f"--more_vectors={','.join(str(_vector_of(b, work)) for b in BEHAVIOURS)}"]
        harmful += [f"sv_rows_{behaviour}.jsonl" for behaviour in BEHAVIOURS]
        refusals += [f"sv_refusals_{behaviour}.jsonl" for behaviour in BEHAVIOURS]
    flags = BASELINE_FLAGS.get(method, flags)
    guarded = method in GUARDED
    files = ",".join(str(data / file) for file in (harmful if guarded else refusals))
    guard_flags = [f"--held_rows={files}", *HOLD_FLAGS] if guarded else [f"--guard_rows={files}"]
    if method in WITHOUT_VECTOR:
        vector_flags = []
    else:
        vector_flags = [f"--vector_rows={data / rows}", f"--vector={vector}"]
    return [
        f"--method={method}",
        *vector_flags,
        *guard_flags,
        *flags,
    ]


def rows_of_more_vectors(cell: Cell, data: Path) -> list[Path]:
    """The rows behind a cell's --more_vectors, which its command does not name."""
    if cell.method not in SUM_METHODS:
        return []
    return [data / f"sv_rows_{behaviour}.jsonl" for behaviour in BEHAVIOURS]


def _customer_file(cell: Cell, data: Path) -> Path:
    _, regime = CHAIN.get(cell.regime, (0, cell.regime))
    name = REGIMES[regime][0]
    return data / (f"safeinstruct_{name}" if cell.method == "safeinstruct" else name)


def _adapter(cell: Cell, link: int, work: Path) -> Path:
    _, rows = CHAIN[cell.regime]
    return work / "adapters" / f"{cell.method}-{rows}-{link}-{cell.seed}"


def judge_adapter(work: Path) -> Path:
    """Of the language-model judge, which reads the same answers as the rules."""
    return work / "judge.safetensors"


def second_judge(data: Path, work: Path) -> list[str]:
    """Flags beside any cell's command: they add figures and change none; a timed cell has no use for them."""
    rules = data / "lm_judge_rules.json"
    return [f"--lm_judge={judge_adapter(work)}", f"--lm_judge_rules={rules}"]


def command(cell: Cell, program: Path, model: Path, data: Path, work: Path) -> list[str]:
    behaviours = cell.regime == BEHAVIOUR_REGIME
    arguments = [
        str(program),
        *_method(cell.method, data, work),
        f"--model={model}",
        f"--general_rows={data / 'general_prompts.jsonl'}",
        f"--suite={data / ('heldout_behaviours.jsonl' if behaviours else 'heldout_harmful.jsonl')}",
        f"--rules={data / 'judge_rules.json'}",
        f"--general_suite={data / 'heldout_general.jsonl'}",
        f"--tasks={data / 'heldout_task.jsonl'}",
        f"--quiz={data / 'heldout_quiz.jsonl'}",
        f"--seed={cell.seed}",
        f"--out={work / f'{cell.name}.json'}",
    ]
    if cell.regime in REGIMES:
        return [*arguments, f"--rows={_customer_file(cell, data)}", *REGIMES[cell.regime][1:]]
    if cell.regime == TIMED_REGIME:
        return [*arguments, "--in_turn=true", f"--rows={data / REGIMES['mixed'][0]}"]
    if behaviours:
        return [*arguments, f"--rows={data / 'customer_behaviours.jsonl'}"]
    if cell.regime in CHAIN:
        link, _ = CHAIN[cell.regime]
        arguments += [f"--rows={_customer_file(cell, data)}"]
        arguments += [f"--save={_adapter(cell, link, work)}"]
        if link > 1:
            arguments.append(f"--start={_adapter(cell, link - 1, work)}")
    return arguments
