"""Records what Hugging Face transformers computes, for the tests of worker/model.

    python record_golden.py --real-model <folder of SmolLM2-135M-Instruct>

Writes tiny_models.json (one small model per architecture and RoPE scaling, with weights from the
formula below, so that no weights are stored) and real_model.json beside this script. Everything is
fp32 with eager attention. The versions used are written into the files. Needs the environment of
`deploy/setup_python.sh peer` (transformers 5).
"""

import argparse
import json
import pathlib
import zlib

import numpy as np
import torch
import transformers

HERE = pathlib.Path(__file__).parent

SIZES = {
    "vocab_size": 67,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "dtype": "float32",
}

CASES = {
    "llama": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
    },
    "llama_biases": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "attention_bias": True,
        "mlp_bias": True,
    },
    "llama_linear": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "rms_norm_eps": 1e-5,
        "rope_scaling": {"rope_type": "linear", "factor": 4.0},
    },
    "llama_dynamic": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "rms_norm_eps": 1e-5,
        "rope_scaling": {"rope_type": "dynamic", "factor": 2.0},
    },
    "llama_llama3": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "rms_norm_eps": 1e-5,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    },
    "llama_yarn": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "rms_norm_eps": 1e-5,
        "rope_scaling": {
            "rope_type": "yarn",
            "factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    },
    # As transformers 5 writes its folders.
    "llama_rope_parameters": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "rms_norm_eps": 1e-5,
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 700.0,
            "factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    },
    "mistral_window": {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "rms_norm_eps": 1e-5,
        "sliding_window": 5,
        "head_dim": 12,
        "tie_word_embeddings": False,
    },
    "qwen2": {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "use_sliding_window": False,
    },
    "qwen3": {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "rms_norm_eps": 1e-6,
        "head_dim": 16,
        "tie_word_embeddings": False,
        "attention_bias": False,
    },
}

REAL_PROMPTS = {
    "chat": "<|im_start|>user\nName three rivers of Europe.<|im_end|>\n<|im_start|>assistant\n",
    "digits": "The 12 towns had 3456 people in 1987, and 20% of them were children.",
    "code": "def add(a, b):\n    return a + b\n\nprint(add(2, 3))\n",
}
VOCABULARY_STEP = 97


def formula_weights(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Pseudo-random fp32 numbers that C++ computes bit for bit (tiny_model.cc)."""
    index = np.arange(int(np.prod(shape)), dtype=np.uint64)
    x = (index * np.uint64(2654435761) + np.uint64(zlib.crc32(name.encode()))) & np.uint64(
        0xFFFFFFFF
    )
    x ^= x >> np.uint64(16)
    x = (x * np.uint64(0x45D9F3B)) & np.uint64(0xFFFFFFFF)
    x ^= x >> np.uint64(16)
    unit = ((x >> np.uint64(8)).astype(np.float32)) * np.float32(2.0**-24) - np.float32(0.5)
    if "norm" in name:
        return (np.float32(1.0) + unit * np.float32(0.5)).reshape(shape)
    return (unit * np.float32(0.5)).reshape(shape)


def tiny_case(overrides: dict) -> dict:
    fields = {**SIZES, **overrides}
    if "rope_parameters" in fields:
        del fields["rope_theta"]
    config = transformers.AutoConfig.for_model(**fields)
    # transformers 5 keeps both in one field; a scaling that it dropped would be compared with none.
    expected = {"rope_type": "default", "rope_theta": SIZES["rope_theta"]}
    expected |= fields.get("rope_scaling", {}) | fields.get("rope_parameters", {})
    assert dict(config.rope_parameters) == expected, config.rope_parameters
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(formula_weights(name, tuple(parameter.shape))))
    ids = [(7 * i + 3) % SIZES["vocab_size"] for i in range(23)]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    # Every fifth position, all of the vocabulary.
    return {
        "config": fields,
        "ids": ids,
        "positions": list(range(2, 23, 5)),
        "logits": [[round(float(v), 6) for v in logits[p]] for p in range(2, 23, 5)],
    }


def real_case(folder: pathlib.Path) -> dict:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    prompts = {}
    for name, text in REAL_PROMPTS.items():
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            output = model.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False)
            logits = model(torch.tensor([ids])).logits[0, -1].double()
        prompts[name] = {
            "ids": ids,
            "greedy": output[0, len(ids) :].tolist(),
            "logits": [round(float(v), 6) for v in logits[::VOCABULARY_STEP]],
            "logsumexp": float(torch.logsumexp(logits, 0)),
        }
    return {"vocabulary_step": VOCABULARY_STEP, "prompts": prompts}


def write(name: str, content: dict) -> None:
    content = dict(
        transformers=transformers.__version__, torch=torch.__version__.split("+")[0], **content
    )
    (HERE / name).write_text(json.dumps(content, separators=(",", ":")) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real-model", type=pathlib.Path)
    arguments = parser.parse_args()
    write("tiny_models.json", {"cases": {name: tiny_case(case) for name, case in CASES.items()}})
    if arguments.real_model:
        write("real_model.json", real_case(arguments.real_model))


if __name__ == "__main__":
    main()
