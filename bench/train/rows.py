"""The rows that `make bench-train` measures on, drawn from fixed seeds."""

import json
import random
from pathlib import Path

VOCABULARY = 49152


def write_rows(path: Path, rows: list[tuple[int, int]], seed: int) -> Path:
    """Random ids; a row is (prompt tokens without loss, answer tokens with loss)."""
    rng = random.Random(seed)
    with path.open("w") as file:
        for prompt, answer in rows:
            ids = [rng.randrange(VOCABULARY) for _ in range(prompt + answer)]
            file.write(json.dumps({"ids": ids, "mask": [0] * prompt + [1] * answer}) + "\n")
    return path


def dense_rows(folder: Path) -> Path:
    """Batches of 4 x 256, all tokens supervised."""
    return write_rows(folder / "dense.jsonl", [(0, 256)] * 16, seed=1)


def mixed_rows(folder: Path) -> Path:
    """Chat-like: long-tailed lengths of 24 to 512 tokens, about 60% of them prompt."""
    rng = random.Random(2)
    rows = []
    for _ in range(32):
        length = min(512, max(24, int(rng.lognormvariate(4.6, 0.8))))
        prompt = int(length * rng.uniform(0.4, 0.8))
        rows.append((prompt, length - prompt))
    return write_rows(folder / "mixed.jsonl", rows, seed=3)


def chat_rows(path: Path, model: Path, standin: Path) -> None:
    """32 of the stand-in customer's rows as the service trains them: one system prompt, loss on the answer."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    with path.open("w") as file:
        for line in (standin / "customer_mixed.jsonl").read_text().splitlines()[:32]:
            messages = json.loads(line)["messages"]
            ids, prompt = (
                list(tokenizer.apply_chat_template(m, tokenize=True, return_dict=False, **more))
                for m, more in ((messages, {}), (messages[:-1], {"add_generation_prompt": True}))
            )
            mask = [0] * len(prompt) + [1] * (len(ids) - len(prompt))
            file.write(json.dumps({"ids": ids, "mask": mask}) + "\n")


def chat_prompts(path: Path, model: Path, standin: Path) -> Path:
    """128 prompts as safety scoring has them: held-out stand-in prompts in the model's chat template."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    lines = [
        line
        for name in ("heldout_harmful", "heldout_general")
        for line in (standin / f"{name}.jsonl").read_text().splitlines()
    ][:128]
    with path.open("w") as file:
        for line in lines:
            message = {"role": "user", "content": json.loads(line)["prompt"]}
            ids = tokenizer.apply_chat_template(
                [message], add_generation_prompt=True, tokenize=True, return_dict=False
            )
            file.write(json.dumps({"ids": list(ids), "mask": [0] * len(ids)}) + "\n")
    return path
