"""The engine's gradient of every LoRA tensor against PEFT's, live, fp32."""

import json
import os
from pathlib import Path

import pytest
import torch
from peft_gradients import REPOSITORY, peers

import lora_gradients

BUILD = Path(os.environ["WARDTUNE_BUILD_DIR"])
MODEL = Path(os.environ["WARDTUNE_CACHE_DIR"]) / "models" / "SmolLM2-135M-Instruct"
RECORDED = REPOSITORY / "tests" / "testdata" / "peft_gradients.json"

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def peft(tmp_path_factory: pytest.TempPathFactory) -> Tensors:
    return peers(MODEL, tmp_path_factory.mktemp("peft"))


def test_every_lora_tensors_gradient_equals_pefts(peft: Tensors, tmp_path: Path) -> None:
    ours = lora_gradients.engines(BUILD, MODEL, tmp_path)
    assert ours.keys() == peft.keys()
    assert len(peft) == 2 * 7 * 30
    errors = {}
    for name, expected in peft.items():
        difference = torch.tensor(ours[name]).reshape(expected.shape) - expected
        errors[name] = (difference.abs().max() / expected.abs().max()).item()
    worst = max(errors, key=errors.get)
    print(f"largest relative difference {errors[worst]:.2e}, {worst}")
    assert all(error <= lora_gradients.TOLERANCE for error in errors.values()), worst


def test_the_recorded_gradients_are_those_of_this_peft(peft: Tensors) -> None:
    recorded = json.loads(RECORDED.read_text())["gradients"]
    assert recorded.keys() == peft.keys()
    for name, expected in recorded.items():
        found = lora_gradients.summary(peft[name].flatten().tolist())
        assert lora_gradients.summary_error(found, expected) <= lora_gradients.TOLERANCE, name
