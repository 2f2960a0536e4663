"""One fp32 step's gradients of every LoRA tensor by transformers + PEFT."""

import sys
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))
sys.path.insert(0, str(REPOSITORY / "bench" / "train"))

from peft_bench import padded, read_rows  # noqa: E402

import lora_gradients  # noqa: E402
import loss_curve  # noqa: E402


def peers(model: Path, folder: Path) -> dict[str, torch.Tensor]:
    """By tensor name as in a PEFT adapter's file."""
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    start = loss_curve.write_start(folder / "start")
    adapted = PeftModel.from_pretrained(base, start, is_trainable=True)
    adapted.config.use_cache = False
    adapted.train()
    batch = padded(read_rows(lora_gradients.write_rows(folder)))
    adapted(**batch).loss.backward()
    return {
        name.replace(".default.", "."): parameter.grad
        for name, parameter in adapted.named_parameters()
        if parameter.requires_grad
    }
