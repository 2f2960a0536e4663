"""TRL's side of `make bench-train`: its SFTTrainer with packing, on the same rows as train-bench.

    python trl_bench.py --model FOLDER --rows ROWS.jsonl --out FILE [--max-length 512] [--batch 1]
                        [--accumulate 2] [--attention sdpa] [--compile]

TRL takes the rows tokenised, with their completion mask, and packs them best-fit decreasing into
blocks of at most `max_length` tokens, without padding. Position ids restart at every row, from which
transformers makes a block-diagonal mask: rows do not see each other (tests/peer/test_trl_bench.py).
TRL recommends FlashAttention for this, which skips what the mask hides but has no CPU version, and
flex_attention has no backward pass there. SDPA, used here, computes what the mask hides as well, so a
step's rows go into several short blocks, as long as the longest row: TRL's fastest and smallest here.
Activation checkpointing, TRL's default, is off.

After `warmup` steps one pass over the rows is timed, from the start of a step to its end: every row
counts once, and collating and logging, which are outside, not at all.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from peer_report import speed
from peft_bench import TARGETS


def read_dataset(path: Path) -> Dataset:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return Dataset.from_list(
        [{"input_ids": row["ids"], "completion_mask": row["mask"]} for row in rows]
    )


class Stopwatch(TrainerCallback):
    """Seconds, tokens and loss of every optimizer step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.losses: list[float] = []
        self._tokens: list[int] = [0]
        self._started = 0.0

    def tokens_since(self, step: int) -> int:
        return self._tokens[-1] - self._tokens[step]

    def on_step_begin(self, *_: object, **__: object) -> None:
        self._started = time.perf_counter()

    def on_step_end(self, *_: object, **__: object) -> None:
        self.seconds.append(time.perf_counter() - self._started)

    def on_log(self, *_: object, logs: dict[str, float], **__: object) -> None:
        if "loss" in logs:
            self.losses.append(logs["loss"])
            self._tokens.append(int(logs["num_tokens"]))


def make_trainer(arguments: argparse.Namespace, folder: str, watch: Stopwatch) -> SFTTrainer:
    config = SFTConfig(
        output_dir=folder,
        model_init_kwargs={
            "dtype": arguments.dtype,
            "attn_implementation": arguments.attention,
        },
        packing=True,
        packing_strategy="bfd",
        max_length=arguments.max_length,
        completion_only_loss=True,
        per_device_train_batch_size=arguments.batch,
        gradient_accumulation_steps=arguments.accumulate,
        activation_checkpointing=False,
        # TRL's default: autocast, which multiplies the LoRA factors in bf16.
        bf16=arguments.dtype == "bfloat16",
        torch_compile=arguments.compile,
        learning_rate=arguments.learning_rate,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=1.0,
        train_sampling_strategy="sequential",
        num_train_epochs=2,
        use_cpu=True,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    lora = LoraConfig(
        r=arguments.rank, lora_alpha=2 * arguments.rank, target_modules=TARGETS, lora_dropout=0.0
    )
    return SFTTrainer(
        model=str(arguments.model),
        args=config,
        train_dataset=read_dataset(arguments.rows),
        peft_config=lora,
        callbacks=[watch],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--rows", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--batch", type=int, default=1, help="blocks that run together")
    parser.add_argument("--accumulate", type=int, default=2, help="such batches a step")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--attention", default="sdpa")
    parser.add_argument("--compile", action="store_true", help="torch.compile the model")
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    arguments = parser.parse_args()
    torch.set_flush_denormal(True)

    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(arguments, folder, watch)
        blocks = len(trainer.train_dataset)
        steps = -(-blocks // (arguments.batch * arguments.accumulate))
        trainer.args.max_steps = arguments.warmup + steps
        trainer.train()
    seconds, tokens = watch.seconds[arguments.warmup :], watch.tokens_since(arguments.warmup)
    report = {
        **speed(tokens, sum(seconds)),
        "dtype": arguments.dtype,
        "step_seconds": seconds,
        "losses": watch.losses,
        "blocks": list(trainer.train_dataset["seq_lengths"]),
    }
    arguments.out.write_text(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
