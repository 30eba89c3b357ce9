"""Write docs/performance.md from the last results of all benchmarks: .venv/bin/python -m benchmarks.report"""

from pathlib import Path

from benchmarks.results import latest

PAGE = Path(__file__).parents[1] / "docs/performance.md"
START = """# Performance

Each benchmark compares Keywell with a baseline, the simplest program that does the same job, in one run whose rounds
alternate. Absolute figures depend on the machine; the ratio is the median of the rounds. `python3 run.py bench`
runs all benchmarks, and `python3 run.py bench payments` runs one. Each adds its results to `benchmarks/results/` and
this page. [benchmarks/README.md](../benchmarks/README.md) describes what each one measures.
"""
HEAD = """
| measure | Keywell | baseline | ratio | rounds | goal |
|---|---|---|---|---|---|
"""


def report() -> str:
    page, last = START, ""
    for name, line in latest():
        if name != last:
            versions = ", ".join(f"{program} {number}" for program, number in line["versions"].items())
            page += f"\n## {name}\n\n{line['measured_at'][:10]}, {line['cores']} cores, {versions}.\n{HEAD}"
        last = name
        sizes = ", ".join(f"{size.replace('_', ' ')} {value:,}" for size, value in line["sizes"].items())
        ours, baseline = (format_value(line[side], line["unit"]) for side in ("ours", "baseline"))
        measure = f"{line['measure']} ({sizes})" if sizes else line["measure"]
        page += f"| {measure} | {ours} | {line['baseline_is']}: {baseline} | {line['ratio']:.2f} | {line['rounds']} |"
        page += f" {line['goal']} |\n"
    return page


def format_value(value: float, unit: str) -> str:
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f} {unit}"


if __name__ == "__main__":
    PAGE.write_text(report())
