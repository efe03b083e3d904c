"""Clusters: rings of accounts that bad events tie, and everybody else alone."""

import numpy as np

from enrichment.pipelines import load
from enrichment.rollout.clusters import clusters_of
from enrichment.rollout.join import Experimented, Join, Rows
from tests.rollout.streams import SINCE_MS, answered, joined, pipeline_with


def together(rows: Rows, *bad: str) -> list[set[str]]:
    """The clusters of more than one event, by the events' ids."""
    everything = np.ones(len(rows), dtype=np.bool_)
    code = clusters_of(rows, everything, np.isin(rows.ids, bad))
    assert set(code.tolist()) == set(range(code.max() + 1))
    groups = [{rows.ids[i] for i in np.flatnonzero(code == number)} for number in set(code)]
    return sorted((group for group in groups if len(group) > 1), key=sorted)


def test_bad_events_tie_accounts_and_good_ones_do_not() -> None:
    """A ring takes all events of its accounts along; what only good events share ties nobody."""
    rows = joined(
        pipeline_with(),
        [
            answered("x1", entities=("x", "dx", "p")),
            answered("y1", entities=("y", "dy", "p")),
            answered("y2", entities=("y", "home", "q")),
            answered("z", entities=("z", "home", "r")),
            answered("u", entities=("u", "dx", "s")),
        ],
    )
    assert together(rows, "x1", "y1") == [{"x1", "y1", "y2"}]
    assert together(rows) == [{"y1", "y2"}]


def test_rings_meet_through_what_they_share() -> None:
    """Two rings with one account in common are one: a device here, a beneficiary there."""
    rows = joined(
        pipeline_with(),
        [
            answered("1", entities=("x", "d", None)),
            answered("2", entities=("y", "d", None)),
            answered("3", entities=("y", "own", "p")),
            answered("4", entities=("z", "other", "p")),
        ],
    )
    assert together(rows, "1", "2", "3", "4") == [{"1", "2", "3", "4"}]


def test_a_hub_ties_nobody() -> None:
    """What more accounts use than `degree_max`, good ones among them, is no ring's."""
    crowd = [answered(f"c{i}", entities=(f"c{i}", None, "shop")) for i in range(29)]
    ring = [answered(f"r{i}", entities=(f"r{i}", None, "shop")) for i in range(2)]
    assert together(joined(pipeline_with(), crowd + ring), "r0", "r1") == []
    assert together(joined(pipeline_with(), crowd[1:] + ring), "r0", "r1") == [{"r0", "r1"}]


def test_a_direct_link_ties_both_its_ends() -> None:
    """A bad rating makes one cluster of who gave it and who got it, where both have events."""
    pipeline = load("trust")
    join = Join(pipeline, Experimented(since_ms=SINCE_MS, pipeline_version="v", score_version="s"))
    for id_, ends in (("1", ("a", "b")), ("2", ("b", "c")), ("3", ("c", "a"))):
        join.answer(answered(id_, entities=ends, experiment_id=""))
    assert together(join.rows(), "1") == [{"1", "2"}]


def test_events_that_name_nobody_are_each_alone() -> None:
    """Without an account there is nothing that an event could have in common with another."""
    rows = joined(
        pipeline_with(),
        [answered("1", entities=(None, "d", "p")), answered("2", entities=(None, "d", "p"))],
    )
    assert together(rows, "1", "2") == []
