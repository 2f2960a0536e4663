"""What training costs against length, batch, rank and model size: the curves of `make bench-train`.

Every point is a run of train-bench in bf16. Models above 135 million parameters have random weights; their
values do not change the work.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from programs import BUILD, MODEL, Bench, engine_digest
from rows import VOCABULARY, write_rows

# (name, configuration) in the field's usual proportions.
SYNTHETIC = {
    "360M": {"hidden": 960, "intermediate": 2560, "layers": 32, "heads": 15, "kv_heads": 5},
    "1.1B": {"hidden": 2048, "intermediate": 5632, "layers": 22, "heads": 32, "kv_heads": 4},
}


@dataclass
class Point:
    """One measured run; what is varied is in `axis`, its value in `value`."""

    axis: str
    value: float
    label: str
    tokens_per_second: float
    peak_rss_bytes: int


def make_model(folder: Path, hidden: int, intermediate: int, layers: int, heads: int,
               kv_heads: int) -> Path:  # fmt: skip
    """A Llama folder with random bf16 weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        vocab_size=VOCABULARY,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    model = model.to_empty(device="cpu").to(torch.bfloat16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.02)
    model.tie_weights()
    # One file: sharding belongs to the loader's own tests.
    model.save_pretrained(folder, max_shard_size="100GB")
    return folder


def parameters(folder: Path) -> float:
    """Millions, from the size of the bf16 file."""
    return (folder / "model.safetensors").stat().st_size / 2 / 1e6


def measure(bench: Bench, work: Path) -> list[Point]:
    saved = work / "curve.json"
    points = []
    if saved.exists():
        interrupted = json.loads(saved.read_text())
        # A list is from before the engine was named.
        if isinstance(interrupted, dict) and interrupted["engine"] == engine_digest():
            points = [Point(**point) for point in interrupted["points"]]
    done = {(point.axis, point.label) for point in points}

    def run(axis: str, value: float, label: str, lengths: list[int], *flags: str,
            model: Path = MODEL) -> None:  # fmt: skip
        if (axis, label) in done:
            return
        rows = write_rows(work / "curve.jsonl", [(0, length) for length in lengths], seed=11)
        name = f"{axis} {label}"
        bench.run(name, *train(model, rows), f"--batch={len(lengths)}", *flags)
        report = bench.raw.pop(name)[0]
        speed, memory = report["tokens_per_second"], report["peak_rss_bytes"]
        points.append(Point(axis, value, label, speed, memory))
        taken = [asdict(point) for point in points]
        saved.write_text(json.dumps({"engine": engine_digest(), "points": taken}))

    for length in (256, 512, 1024, 2048, 4096):
        # As many tokens a step at every length, one row at a time through the model.
        flags = (f"--micro_batch_tokens={length}", "--steps=1", "--warmup=1")
        run("length", length, str(length), [length] * (4096 // length), *flags)
        run("length, recomputed", length, str(length), [length] * (4096 // length), *flags,
            "--recompute")  # fmt: skip
    for batch in (1, 2, 4, 8):
        run("batch", batch, str(batch), [256] * batch, "--steps=3", "--warmup=1")
    for rank in (4, 16, 64, 128):
        run("rank", rank, str(rank), [256] * 4, f"--rank={rank}", "--steps=2", "--warmup=1")
    run("size", parameters(MODEL), "135M", [256] * 4, "--steps=2", "--warmup=1")
    for label, shape in SYNTHETIC.items():
        if ("size", label) in done:
            continue
        folder = make_model(work / f"synthetic-{label}", **shape)
        run("size", parameters(folder), label, [256] * 4, "--steps=1", "--warmup=1", model=folder)
        shutil.rmtree(folder)
    return points


def train(model: Path, rows: Path) -> tuple[object, ...]:
    return (BUILD / "train-bench", f"--model={model}", f"--rows={rows}", "--dtype=bfloat16")


AXES = {
    "length": "tokens a row (4096 a step)",
    "length, recomputed": "tokens a row, activations recomputed",
    "batch": "rows of 256 tokens a step",
    "rank": "LoRA rank",
    "size": "parameters",
}


def table(points: list[Point]) -> str:
    lines = [
        "",
        "## What training costs",
        "",
        "Rows of 4 x 256 tokens, rank 16 and 135M parameters unless the axis says otherwise; models above 135M have",
        "random weights. One run a point.",
        "",
        "| axis | value | tokens/s | peak RSS, GB |",
        "|---|---:|---:|---:|",
    ]
    for p in points:
        lines.append(
            f"| {AXES[p.axis]} | {p.label} | {p.tokens_per_second:.0f} | {p.peak_rss_bytes / 1e9:.2f} |"
        )
    return "\n".join(lines) + "\n"


def plot(points: list[Point]) -> str:
    """A row of panels, tokens/s above memory, one panel an axis; categories evenly spaced."""
    panel, height, left, top = 230, 130, 46, 26
    axes = [axis for axis in AXES if any(p.axis == axis for p in points)]
    parts = []
    for column, axis in enumerate(axes):
        chosen = [p for p in points if p.axis == axis]
        for row, (unit, value) in enumerate(
            (
                ("tokens/s", lambda p: p.tokens_per_second),
                ("peak RSS, GB", lambda p: p.peak_rss_bytes / 1e9),
            )
        ):
            x0, y0 = left + column * panel, top + row * (height + 60)
            parts.append(draw_panel(chosen, value, unit, AXES[axis], x0, y0, panel - 60, height))
    width = left + len(axes) * panel
    total = top + 2 * (height + 60)
    style = "font-family:sans-serif;font-size:11px"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{total}" style="{style}">'
        f'<rect width="{width}" height="{total}" fill="white"/>{"".join(parts)}</svg>\n'
    )


def draw_panel(points: list[Point], value, unit: str, title: str, x0: float, y0: float,
               width: float, height: float) -> str:  # fmt: skip
    largest = 1.1 * max(value(p) for p in points)
    step = width / max(1, len(points) - 1)
    at = [(x0 + i * step, y0 + height * (1 - value(p) / largest)) for i, p in enumerate(points)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
    parts = [
        f'<text x="{x0}" y="{y0 - 10}">{unit}</text>',
        f'<path d="M{x0} {y0}V{y0 + height}H{x0 + width}" fill="none" stroke="#a0aec0"/>',
        f'<polyline points="{line}" fill="none" stroke="#2b6cb0" stroke-width="2"/>',
        f'<text x="{x0 + width / 2}" y="{y0 + height + 30}" text-anchor="middle">{title}</text>',
    ]
    for (x, y), point in zip(at, points, strict=True):
        shown = value(point)
        number = f"{shown:.0f}" if shown >= 100 else f"{shown:.2f}"
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#2b6cb0"/>',
            f'<text x="{x:.1f}" y="{y - 7:.1f}" text-anchor="middle">{number}</text>',
            f'<text x="{x:.1f}" y="{y0 + height + 14}" text-anchor="middle">{point.label}</text>',
        ]
    return "".join(parts)
