"""The worker's tokens and logits against transformers and PEFT, fp32, live."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ["WARDTUNE_BUILD_DIR"])
MODEL = Path(os.environ["WARDTUNE_CACHE_DIR"]) / "models" / "SmolLM2-135M-Instruct"
CLIENT_PYTHON = os.environ["WARDTUNE_CLIENT_PYTHON"]
TOLERANCE = 1e-3

# By tensor name: `{row}.ids`, `{row}.loss_mask`, `{row}.logits`.
Logits = dict[str, np.ndarray]

CHATS = [
    [
        {"role": "user", "content": "In 1987 the 12 towns had 3456 people. How many is that each?"},
        {"role": "assistant", "content": "3456 / 12 = 288 people."},
    ],
    [
        {"role": "system", "content": "You answer in one line.\n\n\tAlways."},
        {"role": "user", "content": "Zürich, 東京 und 🙂 — sag etwas."},
        {"role": "assistant", "content": "Zürich und 東京 sind Städte. 🙂"},
        {"role": "user", "content": "  def f(x):\n    return x ** 2  "},
        {"role": "assistant", "content": "It squares `x`, so f(12) == 144."},
    ],
    [
        {"role": "user", "content": "Order note: please send 4 boxes of sugar to Carla in Porto."},
        {"role": "assistant", "content": "Porto | sugar | 4 | Carla"},
    ],
]


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in CHATS))
    return path


@pytest.fixture(scope="session")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("service")
    script = REPOSITORY / "tests" / "peer" / "make_adapter.py"
    subprocess.run([CLIENT_PYTHON, script, folder], check=True)
    return folder


@pytest.fixture(scope="session")
def adapter(downloads: Path) -> Path:
    """An adapter that came out of a download."""
    return next((downloads / "adapter").rglob("adapter_config.json")).parent


@pytest.fixture(scope="session")
def delivered_model(downloads: Path) -> Path:
    """A model whose weights were trained, out of a download."""
    return next((downloads / "model").rglob("config.json")).parent


def worker_logits(rows: Path, out: Path, *flags: str, model: Path = MODEL) -> Logits:
    subprocess.run(
        [
            BUILD / "tests" / "worker-logits",
            f"--model={model}",
            f"--rows={rows}",
            f"--out={out}",
            *flags,
        ],
        check=True,
    )
    return load_file(out)


@pytest.fixture(scope="session")
def base_logits(rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Logits:
    return worker_logits(rows, tmp_path_factory.mktemp("base") / "logits.safetensors")


def load(model: Path) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()


def assert_same_logits(model: torch.nn.Module, logits: Logits) -> None:
    for i in range(len(CHATS)):
        ids = torch.from_numpy(logits[f"{i}.ids"]).long()[None]
        with torch.no_grad():
            expected = model(ids).logits[0].numpy()
        worst = np.abs(expected - logits[f"{i}.logits"]).max()
        print(f"row {i}: largest difference {worst:.2e}")
        assert worst <= TOLERANCE, f"row {i}"


def test_tokens_equal_the_chat_template_of_transformers(base_logits: Logits) -> None:
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    for i, chat in enumerate(CHATS):
        text = tokenizer.apply_chat_template(chat, tokenize=False)
        expected = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert base_logits[f"{i}.ids"].tolist() == expected, f"row {i}"


def test_loss_mask_covers_the_answers_and_their_end_alone(base_logits: Logits) -> None:
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    for i, chat in enumerate(CHATS):
        ids, mask = base_logits[f"{i}.ids"], base_logits[f"{i}.loss_mask"]
        supervised = tokenizer.decode(ids[mask != 0])
        answers = [m["content"] for m in chat if m["role"] == "assistant"]
        assert supervised == "".join(f"{answer}<|im_end|>" for answer in answers)


def test_base_logits_equal_transformers(base_logits: Logits) -> None:
    assert_same_logits(load(MODEL), base_logits)


def test_downloaded_adapter_gives_the_same_logits_in_peft(
    rows: Path, adapter: Path, base_logits: Logits, tmp_path: Path
) -> None:
    ours = worker_logits(rows, tmp_path / "logits.safetensors", f"--adapter={adapter}")
    moved = np.abs(ours["2.logits"] - base_logits["2.logits"]).max()
    assert moved > 100 * TOLERANCE, "the adapter changes nothing, so nothing is compared"
    assert_same_logits(PeftModel.from_pretrained(load(MODEL), adapter).eval(), ours)


def test_downloaded_model_gives_the_same_logits_in_transformers(
    rows: Path, delivered_model: Path, base_logits: Logits, tmp_path: Path
) -> None:
    ours = worker_logits(rows, tmp_path / "logits.safetensors", model=delivered_model)
    moved = np.abs(ours["2.logits"] - base_logits["2.logits"]).max()
    assert moved > 100 * TOLERANCE, "training changed nothing, so nothing is compared"
    assert_same_logits(load(delivered_model), ours)
    tokenizer = AutoTokenizer.from_pretrained(delivered_model)
    assert tokenizer.apply_chat_template(CHATS[2], tokenize=False) == AutoTokenizer.from_pretrained(
        MODEL
    ).apply_chat_template(CHATS[2], tokenize=False)
