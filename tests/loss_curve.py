"""A training run that can be repeated anywhere: rows and a start adapter from formulas.

Both engines read the same two files, so their losses must agree step by step. Values of the adapter
come from a 32-bit linear congruential generator (Numerical Recipes' constants), so that a recorded
curve stays valid whatever Python or numpy version writes them.
"""

import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

STEPS = 50
BATCH = 2
RANK = 4
LEARNING_RATE = 3e-4
PROMPT_TOKENS = 20
ROW_TOKENS = 64
ROWS = 24
VOCABULARY = 49152

LAYERS = 30
HIDDEN, KEYS, INTERMEDIATE = 576, 192, 1536
# (module, inputs, outputs) of SmolLM2-135M's layers.
MODULES = (
    ("self_attn.q_proj", HIDDEN, HIDDEN),
    ("self_attn.k_proj", HIDDEN, KEYS),
    ("self_attn.v_proj", HIDDEN, KEYS),
    ("self_attn.o_proj", HIDDEN, HIDDEN),
    ("mlp.gate_proj", HIDDEN, INTERMEDIATE),
    ("mlp.up_proj", HIDDEN, INTERMEDIATE),
    ("mlp.down_proj", INTERMEDIATE, HIDDEN),
)


def numbers(seed: int) -> Iterator[int]:
    """Pseudo-random integers of 32 bits."""
    state = seed
    while True:
        state = (1664525 * state + 1013904223) & 0xFFFFFFFF
        yield state


def write_rows(path: Path, lengths: Sequence[int] = (ROW_TOKENS,) * ROWS) -> Path:
    """Rows of so many tokens that repeat a few each, so that there is something to learn."""
    source = numbers(1)
    with path.open("w") as file:
        for length in lengths:
            few = [(next(source) >> 8) % VOCABULARY for _ in range(9)]
            ids = [few[(next(source) >> 8) % len(few)] for _ in range(length)]
            mask = [0] * PROMPT_TOKENS + [1] * (length - PROMPT_TOKENS)
            file.write(json.dumps({"ids": ids, "mask": mask}) + "\n")
    return path


def write_start(folder: Path) -> Path:
    """The start adapter as a PEFT folder. B is not zero, so that every gradient counts."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "SmolLM2-135M-Instruct",
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "target_modules": [name.split(".")[1] for name, _, _ in MODULES],
        "lora_dropout": 0.0,
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    source = numbers(2)
    header: dict[str, object] = {}
    data = bytearray()
    for layer in range(LAYERS):
        for module, inputs, outputs in MODULES:
            for factor, shape in (("A", (RANK, inputs)), ("B", (outputs, RANK))):
                scale = (0.1 if factor == "A" else 0.01) / 2**31
                count = shape[0] * shape[1]
                values = ((next(source) - 2**31) * scale for _ in range(count))
                begin = len(data)
                data += struct.pack(f"<{count}f", *values)
                name = f"base_model.model.model.layers.{layer}.{module}.lora_{factor}.weight"
                header[name] = {
                    "dtype": "F32",
                    "shape": list(shape),
                    "data_offsets": [begin, len(data)],
                }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    return folder


def ours(model: Path, rows: Path, start: Path, dtype: str) -> list[str]:
    """Flags of train-bench."""
    return [
        f"--model={model}",
        f"--rows={rows}",
        f"--start={start}",
        f"--dtype={dtype}",
        f"--steps={STEPS}",
        "--warmup=0",
        f"--batch={BATCH}",
        f"--learning_rate={LEARNING_RATE}",
    ]


def peers(model: Path, rows: Path, start: Path, dtype: str) -> list[str]:
    """Flags of peft_bench.py."""
    return [
        *("--model", str(model)),
        *("--rows", str(rows)),
        *("--init", str(start)),
        *("--dtype", dtype),
        *("--steps", str(STEPS)),
        *("--warmup", "0"),
        *("--batch", str(BATCH)),
        *("--learning-rate", str(LEARNING_RATE)),
    ]
