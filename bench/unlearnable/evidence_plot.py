"""Harmful rates with their intervals, as SVG: a line for each method and regime, seeds pooled."""

from evidence_cells import Cell

LEFT, WIDTH, TOP, ROW = 270, 400, 30, 22


def pooled(results: dict[Cell, dict]) -> dict[str, tuple[float, float, float]]:
    """Mean rate over the seeds, lowest and highest end of their intervals."""
    seeds: dict[str, list[dict]] = {}
    for cell, result in results.items():
        if "harmful_rate" not in result:
            continue
        seeds.setdefault(f"{cell.method}, {cell.regime}", []).append(result)
    return {
        name: (
            sum(r["harmful_rate"] for r in group) / len(group),
            min(r["harmful_wilson_low"] for r in group),
            max(r["harmful_wilson_high"] for r in group),
        )
        for name, group in seeds.items()
    }


def plot(results: dict[Cell, dict]) -> str:
    lines = pooled(results)
    height = TOP + 35 + len(lines) * ROW
    parts = []
    for percent in range(0, 101, 25):
        x = LEFT + WIDTH * percent / 100
        parts.append(f'<text x="{x:.0f}" y="15" text-anchor="middle">{percent}%</text>')
        parts.append(f'<path d="M{x:.0f} 20V{height - 30}" stroke="#e2e8f0"/>')
    for i, (name, (rate, *ends)) in enumerate(lines.items()):
        y = TOP + 5 + i * ROW
        low, high = (LEFT + WIDTH * end for end in ends)
        parts.append(f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{name}</text>')
        parts.append(f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}" stroke="#718096"/>')
        x = LEFT + WIDTH * rate
        parts.append(f'<circle cx="{x:.1f}" cy="{y}" r="4" fill="#c53030"/>')
    parts.append(
        f'<text x="{LEFT + WIDTH / 2:.0f}" y="{height - 8}" text-anchor="middle">'
        "harmful answers to held-out harmful prompts</text>"
    )
    width = LEFT + WIDTH + 40
    style = "font-family:sans-serif;font-size:12px"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" style="{style}">'
        f'<rect width="{width}" height="{height}" fill="white"/>{"".join(parts)}</svg>\n'
    )
