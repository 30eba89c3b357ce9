import json

from benchmarks import report, results
from run import BENCHMARKS


def test_the_page_shows_the_last_results():
    assert report.PAGE.read_text() == report.report(), "Run: .venv/bin/python -m benchmarks.report"


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
