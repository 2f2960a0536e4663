"""The engine's gradients against PEFT's as recorded; tests/peer compares with a live PEFT."""

import json
from pathlib import Path

import lora_gradients
from processes import build_folder, models_folder

BUILD = build_folder()
MODEL = models_folder() / "SmolLM2-135M-Instruct"
RECORDED = Path(__file__).parent / "testdata" / "peft_gradients.json"


def test_every_lora_tensors_gradient_equals_the_recorded_one_of_peft(tmp_path: Path) -> None:
    recorded = json.loads(RECORDED.read_text())["gradients"]
    ours = lora_gradients.engines(BUILD, MODEL, tmp_path)
    assert ours.keys() == recorded.keys()
    errors = {
        name: lora_gradients.summary_error(lora_gradients.summary(ours[name]), reference)
        for name, reference in recorded.items()
    }
    worst = max(errors, key=errors.get)
    assert all(error <= lora_gradients.TOLERANCE for error in errors.values()), worst
