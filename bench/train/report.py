"""Table and plot of `make bench-train`."""

from programs import Bench


def table(
    bench: Bench,
    result: dict[str, float],
    goals: dict[str, tuple[str, float]],
    facts: dict[str, object],
    rounds: int,
    only: str,
) -> str:
    """`only` are the patterns of the programs that were run, "*" for all."""
    command = f"make bench-train ROUNDS={rounds}" + ("" if only == "*" else f" ONLY='{only}'")
    lines = [
        "# Training engine against transformers with PEFT and with TRL",
        "",
        f"Made by `{command}` on {facts['date']}: {facts['cpu']}, {facts['cores']} cores.",
        f"Versions: {facts['versions']}. Medians of {rounds} alternating rounds; raw figures in train.json.",
        "",
        "| program | tokens/s | lowest - highest | peak RSS, GB |",
        "|---|---:|---:|---:|",
    ]
    for name in bench.raw:
        low, high = bench.spread(name)
        memory = bench.raw[name][0].get("peak_rss_bytes")
        shown = f"{bench.median(name, 'peak_rss_bytes') / 1e9:.2f}" if memory else ""
        lines.append(f"| {name} | {bench.median(name):.0f} | {low:.0f} - {high:.0f} | {shown} |")
    lines += ["", "| figure | value | goal | met |", "|---|---:|---:|---|"]
    for key, value in result.items():
        if key not in goals:
            lines.append(f"| {key} | {value:.3f} | none | |")
            continue
        sign, goal = goals[key]
        met = value >= goal if sign == ">=" else value <= goal
        lines.append(f"| {key} | {value:.3f} | {sign} {goal} | {'yes' if met else 'no'} |")
    return "\n".join(lines) + "\n"


def plot(bench: Bench) -> str:
    """Bars of tokens/s as SVG, this engine's in blue."""
    width, bar = 420.0, 22
    largest = max(bench.median(name) for name in bench.raw)
    parts = []
    for i, name in enumerate(bench.raw):
        speed = bench.median(name)
        colour = "#2b6cb0" if name.startswith(("ours", "4 jobs, one")) else "#a0aec0"
        y = 10 + i * (bar + 8)
        parts.append(f'<text x="190" y="{y + 15}" text-anchor="end">{name}</text>')
        parts.append(
            f'<rect x="200" y="{y}" width="{speed / largest * width:.1f}" height="{bar}" fill="{colour}"/>'
        )
        parts.append(
            f'<text x="{206 + speed / largest * width:.1f}" y="{y + 15}">{speed:.0f}</text>'
        )
    height = 20 + len(bench.raw) * (bar + 8)
    style = "font-family:sans-serif;font-size:12px"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="700" height="{height}" style="{style}">'
        f'<rect width="700" height="{height}" fill="white"/>{"".join(parts)}</svg>\n'
    )
