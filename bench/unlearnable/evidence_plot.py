"""Harmful rates with their intervals, as SVG."""

from evidence_cells import Cell

LEFT, WIDTH, TOP, ROW = 240, 400, 30, 26


def plot(results: dict[Cell, dict]) -> str:
    parts = []
    for i, (cell, r) in enumerate(results.items()):
        y = TOP + i * ROW
        low, high = (LEFT + WIDTH * r[f"harmful_wilson_{end}"] for end in ("low", "high"))
        x = LEFT + WIDTH * r["harmful_rate"]
        parts.append(f'<text x="{LEFT - 10}" y="{y + 4}" text-anchor="end">{cell.name}</text>')
        parts.append(f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}" stroke="#718096"/>')
        parts.append(f'<circle cx="{x:.1f}" cy="{y}" r="5" fill="#c53030"/>')
    height = TOP + 20 + len(results) * ROW
    axis = "".join(
        f'<text x="{LEFT + WIDTH * p / 100:.0f}" y="15" text-anchor="middle">{p}%</text>'
        for p in range(0, 101, 25)
    )
    style = "font-family:sans-serif;font-size:12px"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="680" height="{height}" style="{style}">'
        f'<rect width="680" height="{height}" fill="white"/>{axis}{"".join(parts)}</svg>\n'
    )
