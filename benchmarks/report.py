"""Write docs/performance.md from the last results of all benchmarks: .venv/bin/python -m benchmarks.report"""

import math
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.results import latest

PAGE = Path(__file__).parents[1] / "docs/performance.md"
CURVES = PAGE.with_suffix("")
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 640, 300, 70, 40, 20, 50
# Colors that are readable on white and on black; text follows the reader's theme.
STYLE = """
text { font: 13px sans-serif; fill: #24292f } .grid { stroke: #8c959f; stroke-opacity: .35 }
.ours { stroke: #0969da; fill: #0969da } .baseline { stroke: #bc4c00; fill: #bc4c00 }
polyline { fill: none !important; stroke-width: 2 }
text.ours { stroke: none; fill: #0969da } text.baseline { stroke: none; fill: #bc4c00 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .ours, text.ours { stroke: #58a6ff; fill: #58a6ff }
  .baseline, text.baseline { stroke: #f0883e; fill: #f0883e } text.ours, text.baseline { stroke: none }
}
"""
START = """# Performance

Each benchmark compares Keywell with a baseline, the simplest program that does the same job; their rounds alternate in
one run. Absolute figures depend on the machine; the ratio is the median of the rounds. `python3 run.py bench` runs all
benchmarks, and `python3 run.py bench payments` runs one. Both add their results to `benchmarks/results/` and show them
on this page, instead of earlier ones. [benchmarks/README.md](../benchmarks/README.md) describes what each measures.
"""
GROWTH = """
## Growth

Payments over 16 connections, or one per client, while the workers are suspended: medians of five rounds of 64 or 256
payments. The same size differs by up to a third between runs, because other programs use the machine, too.
"""
HEAD = """
| measure | Keywell | baseline | ratio | rounds | goal |
|---|---|---|---|---|---|
"""


def report() -> str:
    page, last = START, ""
    curves: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for name, line in latest():
        if "axis" in line:
            curves[line["measure"]].append(line)
            continue
        if name != last:
            versions = ", ".join(f"{program} {number}" for program, number in line["versions"].items())
            page += f"\n## {name}\n\n{line['measured_at'][:10]}, {line['cores']} cores, {versions}.\n{HEAD}"
        last = name
        sizes = ", ".join(f"{size.replace('_', ' ')} {value:,}" for size, value in line["sizes"].items())
        ours, baseline = (format_value(line[side], line["unit"]) for side in ("ours", "baseline"))
        measure = f"{line['measure']} ({sizes})" if sizes else line["measure"]
        page += f"| {measure} | {ours} | {line['baseline_is']}: {baseline} | {line['ratio']:.2f} | {line['rounds']} |"
        page += f" {line['goal']}{', missed' if is_missed(line) else ''} |\n"
    page += GROWTH if curves else ""
    for measure, points in sorted(curves.items()):
        page += f"\n![{measure}: {describe(points)}](performance/{file_name(measure)})\n"
    return page


def is_missed(line: dict[str, Any]) -> bool:
    """Whether a ratio misses a goal such as “at least 0.4” or “at most 2”."""
    words = line["goal"].split()
    if words[:2] == ["at", "least"]:
        return bool(line["ratio"] < float(words[2]))
    return words[:2] == ["at", "most"] and bool(line["ratio"] > float(words[2]))


def draw() -> dict[str, str]:
    """Return the curves' pictures by file name."""
    curves: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for _, line in latest():
        if "axis" in line:
            curves[line["measure"]].append(line)
    return {file_name(measure): curve(measure, points) for measure, points in curves.items()}


def file_name(measure: str) -> str:
    return f"{measure.lower().replace(' ', '-')}.svg"


def describe(points: list[dict[str, Any]]) -> str:
    texts = [f"{format_value(each['ours'], each['unit'])} at {each['sizes'][each['axis']]:,}" for each in points]
    return ", ".join(texts)


def curve(measure: str, points: list[dict[str, Any]]) -> str:
    """Draw our values and the baseline's by size. The size's axis is logarithmic, the values' begins at zero."""
    points = sorted(points, key=lambda point: point["sizes"][point["axis"]])
    sizes = [point["sizes"][point["axis"]] for point in points]
    top = nice(max(point[side] for point in points for side in ("ours", "baseline")))
    low, high = math.log10(sizes[0] + 1), math.log10(sizes[-1] + 1)

    def x(size: float) -> float:
        share = (math.log10(size + 1) - low) / (high - low) if high > low else 0.5
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM), 1)

    parts = [f"<title>{measure}</title>", f"<style>{STYLE}</style>"]
    for value in (0, top / 4, top / 2, top * 3 / 4, top):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value)}" y2="{y(value)}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(value) + 4}" text-anchor="end">{value:,.4g}</text>')
    for size in sizes:
        parts.append(f'<text x="{x(size)}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{size:,}</text>')
    middle = (WIDTH + LEFT - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{points[0]["axis"]}</text>')
    for side, name, place in (("ours", "Keywell", LEFT), ("baseline", points[0]["baseline_is"], LEFT + 90)):
        line = " ".join(f"{x(size)},{y(point[side])}" for size, point in zip(sizes, points, strict=True))
        parts.append(f'<polyline class="{side}" points="{line}"/>')
        for size, point in zip(sizes, points, strict=True):
            parts.append(f'<circle class="{side}" cx="{x(size)}" cy="{y(point[side])}" r="3"/>')
        parts.append(f'<text class="{side}" x="{place}" y="20">{name}</text>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="20" text-anchor="end">{points[0]["unit"]}</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
    return "\n".join([head, *parts, "</svg>", ""])


def nice(value: float) -> float:
    """Return the next number above that has one of the leading digits 1, 2, 4, 6, 8."""
    power = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1
    return next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= value)


def format_value(value: float, unit: str) -> str:
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}"


if __name__ == "__main__":
    PAGE.write_text(report())
    CURVES.mkdir(exist_ok=True)
    for name, picture in draw().items():
        (CURVES / name).write_text(picture)
