"""Tests of convert_smollm2: on a tiny GGUF file made here, and on the fetched model."""

import json
import os
import pathlib
import struct

import gguf
import numpy as np
import pytest
import tokenizers

import convert_smollm2

HIDDEN, HEADS, KV_HEADS, FEED_FORWARD, LAYERS = 64, 4, 2, 96, 2
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["1 2", "3 4", "Ġ h", "Ġh i"]


def byte_alphabet() -> list[str]:
    """The 256 printable stand-ins of byte-level BPE."""
    return sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())


def vocabulary() -> list[str]:
    return SPECIAL + byte_alphabet() + ["".join(pair.split(" ")) for pair in MERGES]


def rope_permutation(weight: np.ndarray, heads: int) -> np.ndarray:
    """The reordering that llama.cpp applies when it writes a GGUF file, row by row."""
    head_dim = weight.shape[0] // heads
    permuted = np.empty_like(weight)
    for head in range(heads):
        for pair in range(head_dim // 2):
            for half in range(2):
                row = head * head_dim
                permuted[row + 2 * pair + half] = weight[row + half * (head_dim // 2) + pair]
    return permuted


def hugging_face_weights() -> dict[str, np.ndarray]:
    """Weights on a grid that Q4_1 represents exactly: 16 levels from -8/8 to 7/8 per block."""
    rng = np.random.default_rng(0)

    def grid(*shape: int) -> np.ndarray:
        values = rng.integers(-8, 8, shape).astype(np.float32)
        values[..., 0::32], values[..., 1::32] = -8, 7
        return values / 8

    head_dim = HIDDEN // HEADS
    weights = {"model.embed_tokens.weight": grid(len(vocabulary()), HIDDEN)}
    for layer in range(LAYERS):
        name = f"model.layers.{layer}."
        weights[name + "self_attn.q_proj.weight"] = grid(HIDDEN, HIDDEN)
        weights[name + "self_attn.k_proj.weight"] = grid(KV_HEADS * head_dim, HIDDEN)
        weights[name + "self_attn.v_proj.weight"] = grid(KV_HEADS * head_dim, HIDDEN)
        weights[name + "self_attn.o_proj.weight"] = grid(HIDDEN, HIDDEN)
        weights[name + "mlp.gate_proj.weight"] = grid(FEED_FORWARD, HIDDEN)
        weights[name + "mlp.up_proj.weight"] = grid(FEED_FORWARD, HIDDEN)
        weights[name + "mlp.down_proj.weight"] = grid(HIDDEN, FEED_FORWARD)
        weights[name + "input_layernorm.weight"] = grid(HIDDEN)
        weights[name + "post_attention_layernorm.weight"] = grid(HIDDEN)
    weights["model.norm.weight"] = grid(HIDDEN)
    return weights


def gguf_tensor(name: str, weight: np.ndarray) -> tuple[str, np.ndarray]:
    names = convert_smollm2.MODEL_TENSORS
    for gguf_name, hugging_face_name in names.items():
        if name == hugging_face_name:
            return gguf_name, weight
    _, _, layer, rest = name.split(".", 3)
    kinds = {value: key for key, value in convert_smollm2.LAYER_TENSORS.items()}
    kind = kinds[rest.removesuffix(".weight")]
    if kind == "attn_q":
        weight = rope_permutation(weight, HEADS)
    if kind == "attn_k":
        weight = rope_permutation(weight, KV_HEADS)
    return f"blk.{layer}.{kind}.weight", weight


def write_gguf(path: pathlib.Path, pre_tokenizer: str = "smollm", skip: str = "") -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(100000.0)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer)
    writer.add_token_list(vocabulary())
    writer.add_token_types([3] * len(SPECIAL) + [1] * (len(vocabulary()) - len(SPECIAL)))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template("{{ messages }}")
    for name, weight in hugging_face_weights().items():
        gguf_name, weight = gguf_tensor(name, weight)
        if gguf_name == skip:
            continue
        if weight.ndim == 1:
            writer.add_tensor(gguf_name, weight)
        else:
            kind = gguf.GGMLQuantizationType.Q4_1
            writer.add_tensor(gguf_name, gguf.quants.quantize(weight, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    body = data[8 + length :]
    assert header.pop("__metadata__") == {"format": "pt"}
    assert max(entry["data_offsets"][1] for entry in header.values()) == len(body)
    return {
        name: np.frombuffer(body[slice(*entry["data_offsets"])], "<f4").reshape(entry["shape"])
        for name, entry in header.items()
    }


@pytest.fixture(name="folder", scope="module")
def fixture_folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    base = tmp_path_factory.mktemp("tiny")
    write_gguf(base / "tiny.gguf")
    convert_smollm2.convert(base / "tiny.gguf", base / "model")
    return base / "model"


def test_every_weight_comes_back_in_hugging_face_order(folder: pathlib.Path) -> None:
    converted = read_safetensors(folder / "model.safetensors")
    expected = hugging_face_weights()
    assert converted.keys() == expected.keys()
    for name, weight in expected.items():
        # The block scale 1/8 and offset -1 are exact in half precision.
        np.testing.assert_array_equal(converted[name], weight, err_msg=name)


def test_config_describes_the_model(folder: pathlib.Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    expected = {
        "architectures": ["LlamaForCausalLM"],
        "eos_token_id": 2,
        "head_dim": HIDDEN // HEADS,
        "hidden_size": HIDDEN,
        "intermediate_size": FEED_FORWARD,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "num_key_value_heads": KV_HEADS,
        "rms_norm_eps": 1e-05,
        "rope_theta": 100000.0,
        "tie_word_embeddings": True,
        "vocab_size": len(vocabulary()),
    }
    assert {key: config[key] for key in expected} == expected


def test_digits_are_split_even_where_a_merge_joins_them(folder: pathlib.Path) -> None:
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.encode(" hi1234").tokens == ["Ġhi", "1", "2", "3", "4"]


def test_special_tokens_are_single_ids(folder: pathlib.Path) -> None:
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert tokenizer.encode("<|im_start|><|im_end|><|endoftext|>").ids == [1, 2, 0]


def test_an_unknown_pre_tokenizer_is_refused(tmp_path: pathlib.Path) -> None:
    write_gguf(tmp_path / "other.gguf", pre_tokenizer="qwen2")
    with pytest.raises(convert_smollm2.ConversionError, match="qwen2"):
        convert_smollm2.convert(tmp_path / "other.gguf", tmp_path / "model")


def test_a_missing_tensor_is_refused(tmp_path: pathlib.Path) -> None:
    write_gguf(tmp_path / "partial.gguf", skip="blk.1.attn_v.weight")
    with pytest.raises(convert_smollm2.ConversionError, match="19 tensors, not 20"):
        convert_smollm2.convert(tmp_path / "partial.gguf", tmp_path / "model")


@pytest.fixture(name="real_folder", scope="module")
def fixture_real_folder() -> pathlib.Path:
    cache = os.environ.get("WARDTUNE_CACHE_DIR", pathlib.Path.home() / ".cache" / "wardtune")
    folder = pathlib.Path(cache) / "models" / "SmolLM2-135M-Instruct"
    assert folder.is_dir(), "no model: run deploy/fetch_model.sh first"
    return folder


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("In 2024, 3.14", ["In", "Ġ", "2", "0", "2", "4", ",", "Ġ", "3", ".", "1", "4"]),
        ("<|im_start|>user\n", ["<|im_start|>", "user", "Ċ"]),
        ("Hi<|im_end|>\n", ["Hi", "<|im_end|>", "Ċ"]),
    ],
)
def test_real_tokenizer(real_folder: pathlib.Path, text: str, tokens: list[str]) -> None:
    tokenizer = tokenizers.Tokenizer.from_file(str(real_folder / "tokenizer.json"))
    encoding = tokenizer.encode(text)
    assert encoding.tokens == tokens
    assert tokenizer.decode(encoding.ids, skip_special_tokens=False) == text


def test_real_model_has_the_published_shape(real_folder: pathlib.Path) -> None:
    with (real_folder / "model.safetensors").open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    header.pop("__metadata__")
    assert len(header) == 272
    assert sum(int(np.prod(entry["shape"])) for entry in header.values()) == 134_515_008
