"""Evaluation: what is joined, what is counted, what is judged."""

from pathlib import Path

import pytest

from enrichment.lab import evaluate as module
from enrichment.lab.evaluate import EvaluationError, Joined, Judging, evaluate, parse_start
from enrichment.pipelines import load

ROWS = "event_id,source,target,rating,time\n" + "".join(
    f"e{n},s{n % 7},t{n % 5},{-5 if n % 5 == 0 else 3},{1_300_000_000 + n * 3_600}\n"
    for n in range(200)
)


@pytest.fixture
def ratings(tmp_path: Path) -> Path:
    """Two hundred ratings, a fifth of them negative: those of t0."""
    path = tmp_path / "ratings.csv"
    path.write_text(ROWS)
    return path


def _joined(monkeypatch: pytest.MonkeyPatch, joined: Joined) -> None:
    monkeypatch.setattr(module, "read_enriched", lambda *_: joined)


def _scores(score_of_bad: float) -> dict[str, tuple[float, float, float, float]]:
    return {f"e{n}": (score_of_bad if n % 5 == 0 else 50.0, 1.0, float(n), 1.0) for n in range(200)}


def test_a_perfect_score_is_found_perfect(ratings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A score that ranks every bad event first has AUC and average precision of one."""
    _joined(monkeypatch, Joined(_scores(99.0), 0, {"fresh": 200}, {"classical": 200}))
    report = evaluate({}, load("trust"), ratings, Judging(start=0.5, resamples=20))
    assert report["auc"] == report["average_precision"] == 1.0
    assert report["judged"] == 100
    assert report["positives"] == 20
    assert (report["events"], report["enriched"], report["missing"]) == (200, 200, 0)
    assert report["scores"]["heuristic"]["auc"]["value"] == pytest.approx(0.5)


def test_a_reversed_score_is_found_worthless(
    ratings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figures follow the scores: the reverse ranking has an AUC of zero."""
    _joined(monkeypatch, Joined(_scores(1.0), 0, {"fresh": 200}, {"classical": 200}))
    report = evaluate({}, load("trust"), ratings, Judging(resamples=20))
    assert report["auc"] == 0.0


def test_missing_and_doubled_events_are_counted(
    ratings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event of the file that was never enriched is missing, and shown as such."""
    scores = _scores(99.0)
    del scores["e3"]
    _joined(monkeypatch, Joined(scores, 2, {}, {}))
    report = evaluate({}, load("trust"), ratings, Judging(resamples=20))
    assert (report["enriched"], report["missing"], report["doubled"]) == (199, 1, 2)


def test_a_stream_without_labels_cannot_be_judged(ratings: Path) -> None:
    """A pipeline without [labels] is refused in words."""
    with pytest.raises(EvaluationError, match="has no \\[labels\\]"):
        evaluate({}, load("payments"), ratings, Judging())


@pytest.mark.parametrize(
    ("text", "start"),
    [("0.5", 0.5), ("0", 0.0), ("2018-04-08", 1_523_145_600_000),
     ("2018-04-08T00:00:00Z", 1_523_145_600_000), ("2018-04-08T02:00:00+02:00", 1_523_145_600_000)],
)  # fmt: skip
def test_a_start_is_a_share_or_a_time(text: str, start: float) -> None:
    """`--from` takes a share of the events, a date, or a time with its offset."""
    assert parse_start(text) == start


@pytest.mark.parametrize("text", ["1.5", "-1", "yesterday"])
def test_a_start_that_is_neither_is_refused(text: str) -> None:
    """What is no share and no time is refused with what was wanted."""
    with pytest.raises(EvaluationError, match="wanted a share"):
        parse_start(text)
