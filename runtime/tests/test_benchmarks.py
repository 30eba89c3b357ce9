import json
import re
from xml.etree import ElementTree

import pytest

from benchmarks import BENCHMARKS, report, results


def test_the_page_shows_the_last_results():
    assert report.PAGE.read_text() == report.report(), "Run: .venv/bin/python -m benchmarks.report"
    pictures = {path.name: path.read_text() for path in report.CURVES.glob("*.svg")}
    assert pictures == report.draw(), "Run: .venv/bin/python -m benchmarks.report"


def test_a_curve_shows_the_last_result_of_each_size(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    monkeypatch.setattr("sys.argv", ["benchmarks/growth.py"])

    for size, ours in ((1, 10), (1000, 30), (1, 20)):
        pairs = [(ours, 5), (ours, 5)]
        results.record("time by units", pairs, unit="ms", baseline="an INSERT", axis="units", units=size)

    [(name, picture)] = report.draw().items()
    assert name == "time-by-units.svg"
    assert "![time by units: 20.0 ms at 1, 30.0 ms at 1,000](performance/time-by-units.svg)" in report.report()
    points = re.findall(r'<circle class="ours" cx="([\d.]+)" cy="([\d.]+)"', picture)
    (first, low), (last, high) = [(float(x), float(y)) for x, y in points]
    assert first < last and low > high
    ElementTree.fromstring(picture)


def test_it_runs_the_programs_and_not_their_parts():
    assert {"payments", "desk"} <= set(BENCHMARKS) and not {"harness", "desk_pages", "report"} & set(BENCHMARKS)


def test_a_result_is_the_median_of_ratios_and_the_last_one_of_a_measure_is_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    monkeypatch.setattr("sys.argv", ["benchmarks/payments.py"])

    for ours in (1, 10):
        pairs = [(ours, 10), (ours * 2, 10), (ours * 8, 10)]
        results.record("payments", pairs, unit="per second", baseline="an INSERT", goal="at least 1", clients=8)

    lines = [json.loads(line) for line in (tmp_path / "payments.jsonl").read_text().splitlines()]
    assert [line["ratio"] for line in lines] == [0.2, 2.0]
    assert list(results.latest()) == [("payments", lines[1])]
    assert "payments: 20 per second; an INSERT: 10 per second; ratio 2.00, goal at least 1" in capsys.readouterr().out
    assert (
        "| payments (clients 8) | 20.0 per second | an INSERT: 10.0 per second | 2.00 | 3 | at least 1 |"
        in report.report()
    )


@pytest.mark.parametrize(
    ("goal", "ratio", "missed"),
    [
        ("at least 0.4", 0.39, True),
        ("at least 0.4", 0.4, False),
        ("at most 2", 2.01, True),
        ("at most 2", 2, False),
        ("under 1 s", 15, False),
        ("", 1, False),
    ],
)
def test_the_page_marks_a_ratio_that_misses_its_goal(goal, ratio, missed):
    assert report.is_missed({"goal": goal, "ratio": ratio}) == missed
