"""The peer's side of `make bench-train`: transformers + PEFT on the same rows as train-bench.

    python peft_bench.py --model FOLDER --rows ROWS.jsonl --steps N [--dtype bfloat16]
                         [--layout padded|grouped|packed] [--init FOLDER] [--compile]

Takes `batch` rows a step in the file's order and trains LoRA on all seven projections with AdamW,
as train-bench does. `padded` fills a batch's rows to the longest; `grouped` sorts rows by length
first (Trainer's group_by_length with one mega-batch); `packed` puts a step's rows behind each other
with restarting position ids, as TRL's padding-free packing does. A token that is padding does not count.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from peer_report import speed

TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
IGNORED = -100

Row = tuple[list[int], list[int]]
Batch = dict[str, torch.Tensor]


def read_rows(path: Path) -> list[Row]:
    rows = []
    for line in path.read_text().splitlines():
        row = json.loads(line)
        labels = [i if m else IGNORED for i, m in zip(row["ids"], row["mask"], strict=True)]
        rows.append((row["ids"], labels))
    return rows


def padded(rows: list[Row]) -> Batch:
    longest = max(len(ids) for ids, _ in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    labels = torch.full((len(rows), longest), IGNORED)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, (row, targets) in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        labels[i, : len(row)] = torch.tensor(targets)
        mask[i, : len(row)] = 1
    batch = {"input_ids": ids, "labels": labels}
    # Without padding no mask is given, which lets attention take its causal fast path.
    return batch if mask.all() else {**batch, "attention_mask": mask}


def packed(rows: list[Row]) -> Batch:
    ids = [token for row, _ in rows for token in row]
    # The first token of a row must not be predicted from the row before it.
    labels = [t for _, targets in rows for t in [IGNORED, *targets[1:]]]
    positions = [i for row, _ in rows for i in range(len(row))]
    return {
        "input_ids": torch.tensor([ids]),
        "labels": torch.tensor([labels]),
        "position_ids": torch.tensor([positions]),
    }


def step_rows(rows: list[Row], step: int, batch: int) -> list[Row]:
    return [rows[(step * batch + i) % len(rows)] for i in range(batch)]


def load(arguments: argparse.Namespace) -> torch.nn.Module:
    base = AutoModelForCausalLM.from_pretrained(
        arguments.model, dtype=getattr(torch, arguments.dtype)
    )
    if arguments.init:
        return PeftModel.from_pretrained(base, arguments.init, is_trainable=True)
    torch.manual_seed(0)
    config = LoraConfig(
        r=arguments.rank, lora_alpha=2 * arguments.rank, target_modules=TARGETS, lora_dropout=0.0
    )
    return get_peft_model(base, config)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--layout", choices=["padded", "grouped", "packed"], default="padded")
    parser.add_argument("--init", type=Path, help="PEFT folder to start from")
    parser.add_argument("--compile", action="store_true", help="torch.compile the model")
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    torch.set_flush_denormal(True)

    model = load(arguments)
    model.train()
    model.config.use_cache = False
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=arguments.learning_rate, weight_decay=0.0)
    run = torch.compile(model) if arguments.compile else model
    rows = read_rows(arguments.rows)
    if arguments.layout == "grouped":
        rows.sort(key=lambda row: -len(row[0]))
    collate = packed if arguments.layout == "packed" else padded

    losses, seconds, tokens = [], [], 0
    for step in range(arguments.warmup + arguments.steps):
        chosen = step_rows(rows, step, arguments.batch)
        started = time.perf_counter()
        loss = run(**collate(chosen)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if step >= arguments.warmup:
            seconds.append(time.perf_counter() - started)
            tokens += sum(len(ids) for ids, _ in chosen)
    report = {
        **speed(tokens, sum(seconds)),
        "dtype": arguments.dtype,
        "step_seconds": seconds,
        "losses": losses,
    }
    text = json.dumps(report) + "\n"
    if arguments.out:
        arguments.out.write_text(text)
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
