"""`enrichment evidence` where there is nothing to weigh: one line that tells what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from enrichment.cli.evidence_shown import as_plain, print_evidence
from enrichment.lab.evidence_plot import draw_evidence
from enrichment.rollout.gather import Gathered
from enrichment.rollout.looks import reached_ms
from enrichment.rollout.weigh import Known
from tests.rollout.streams import OF, SINCE_MS, Simulated, joined, pipeline_with, simulated


def refused(*arguments: str) -> tuple[int, str]:
    """Exit code and what was said of a call that does not get as far as Kafka."""
    done = subprocess.run(
        [sys.executable, "-m", "enrichment", "evidence", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"ENRICHMENT_KAFKA_BOOTSTRAP": "127.0.0.1:1"},
    )
    return done.returncode, done.stderr


def test_what_is_asked_in_two_ways_is_refused(tmp_path: Path) -> None:
    """A look and now, a plot that is no picture: exit code 2, one line."""
    for arguments, said in (
        (("show", "--look", "1", "--now"), "one of --look and --now"),
        (("export", "--to", str(tmp_path / "e.json"), "--plot", "e.pdf"), ".svg or a .png"),
    ):
        code, told = refused(*arguments)
        assert (code, said in told) == (2, True), told


def test_evidence_is_shown_and_drawn_with_its_looks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two looks of three: each in the plot, and the tables say where the next one is."""
    looks = (10, 20, 1_000)
    pipeline = pipeline_with(gate={"looks": looks})
    answers, outcomes = simulated(Simulated(events=300, rings=6), 1)
    rows = joined(pipeline, answers, outcomes)
    gathered = Gathered(
        pipeline=pipeline,
        known=Known(of=OF, rows=rows),
        now_ms=SINCE_MS + 10**6,
        reached_ms=tuple(reached_ms(rows, looks, 10_000)),
        resamples=50,
    )
    plain = as_plain(gathered, gathered.at(1))
    assert (plain["evidence"]["look"], plain["evidence"]["counts"]["bad"]) == (1, 10)
    assert [look["reached_ms"] is None for look in plain["looks"]] == [False, False, True]
    print_evidence(gathered, gathered.at(0))
    told = capsys.readouterr().out
    assert "no look" in told
    assert "next one is at 1,000 matured bad events, and there are 24 now" in told
    path = tmp_path / "evidence.svg"
    draw_evidence([gathered.at(1), gathered.at(2)], 0.02, path)
    drawn = path.read_text()
    assert all(word in drawn for word in ("look 1", "look 2", "20 bad", "margin"))
