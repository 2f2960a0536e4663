"""The peer's side of the generation bench: transformers' generate, greedy, batched, with its cache.

python peer_generate.py --model FOLDER --prompts ROWS.jsonl --new-tokens N [--dtype bfloat16]
"""

import argparse
import json
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from peer_report import speed


def batch_of(prompts: list[list[int]]) -> dict[str, torch.Tensor]:
    """Padded on the left, as generate wants it."""
    longest = max(map(len, prompts))
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask = torch.zeros(len(prompts), longest, dtype=torch.long)
    for i, prompt in enumerate(prompts):
        ids[i, longest - len(prompt) :] = torch.tensor(prompt)
        mask[i, longest - len(prompt) :] = 1
    return {"input_ids": ids, "attention_mask": mask}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--new-tokens", type=int, default=48)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--dtype", default="bfloat16")
    arguments = parser.parse_args()
    torch.set_flush_denormal(True)
    model = AutoModelForCausalLM.from_pretrained(
        arguments.model, dtype=getattr(torch, arguments.dtype)
    ).eval()
    prompts = [json.loads(line)["ids"] for line in arguments.prompts.read_text().splitlines()]
    # Sorted by length, as generate-bench groups them.
    prompts.sort(key=len)
    settings = {
        "min_new_tokens": arguments.new_tokens,
        "max_new_tokens": arguments.new_tokens,
        "do_sample": False,
        "pad_token_id": 0,
    }
    with torch.inference_mode():
        model.generate(**batch_of(prompts[:1]), **settings)  # warm-up
        started = time.perf_counter()
        for begin in range(0, len(prompts), arguments.batch):
            model.generate(**batch_of(prompts[begin : begin + arguments.batch]), **settings)
        seconds = time.perf_counter() - started
    tokens = len(prompts) * arguments.new_tokens
    arguments.out.write_text(json.dumps(speed(tokens, seconds)) + "\n")


if __name__ == "__main__":
    main()
