"""A micro-batch that was derived again is the same, and whatever was changed in it is told."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
import pytest

from enrichment.lineage.derive import Finding, Written, altered, covered, derived
from enrichment.pipelines import load
from enrichment.records import Cause, Digest, Links, MicroBatch, Problem, Tallies
from enrichment.records.micro_batch import micro_batch_id, subgraph_hash
from enrichment.window.content import Content

PIPELINE: Final = load("payments")
START_MS: Final = 1_700_000_000_000
END_MS: Final = START_MS + PIPELINE.window.size_ms
SHARD: Final = "north"


def digest(number: int, *, amount: int = 100, **changes: Any) -> Digest:
    """A digest of two accounts on one device."""
    at_ms = START_MS + 500 * (number % 4)
    made = Digest(
        pipeline=PIPELINE.name,
        shard=SHARD,
        pane_start_ms=at_ms,
        pane_end_ms=at_ms + 500,
        source_partition=number % 2,
        offset_first=10 * number,
        offset_last=10 * number + 1,
        progress_ms=at_ms,
        newest_ms=at_ms,
        events=2,
        link_columns={
            "account~device": Links(
                ["a", f"b{number}"], ["d"] * 2, [1] * 2, [amount] * 2, [at_ms] * 2
            )
        },
        tally_columns={"account": Tallies(["a", f"b{number}"], [1] * 2, [amount] * 2)},
    )
    return msgspec.structs.replace(made, **changes)


def written(*digests: Digest, first: int = 7) -> list[Written]:
    """Digests as they stand on the topic, from that offset on."""
    return [
        Written(offset=first + n, written_ms=one.pane_end_ms, digest=one)
        for n, one in enumerate(digests)
    ]


DIGESTS: Final = written(*(digest(number) for number in range(5)))


def batch(digests: list[Written], problems: tuple[Problem, ...] = ()) -> MicroBatch:
    """The close of these digests."""
    content = Content(START_MS, END_MS)
    for one in digests:
        content.add(one.digest)
    return MicroBatch(
        micro_batch_id=micro_batch_id(PIPELINE.name, SHARD, START_MS, 0),
        pipeline=PIPELINE.name,
        shard=SHARD,
        window_start_ms=START_MS,
        window_end_ms=END_MS,
        sequence=0,
        cause=Cause.WATERMARK,
        watermark_ms=END_MS,
        closed_at_ms=END_MS + 10,
        content_hash=content.hash(),
        events=content.events,
        digest_offsets=((0, digests[0].offset, digests[-1].offset),),
        problems=problems,
    )


def test_digests_give_their_micro_batch_again_whatever_lies_between_them() -> None:
    """Other shards', pipelines', windows' and future digests among the offsets are not counted."""
    strangers = [
        digest(5, shard="south"),
        digest(6, pipeline="cards"),
        digest(7, pane_start_ms=END_MS, pane_end_ms=END_MS + 500),
    ]
    mixed = [*(one.digest for one in DIGESTS[:2]), *strangers, *(one.digest for one in DIGESTS[2:])]
    on_topic = written(*mixed)
    own = [one for one in on_topic if one.digest not in strangers]
    closed = batch(own)
    early = msgspec.structs.replace(digest(8), events=9)
    ahead = Written(offset=9, written_ms=START_MS - PIPELINE.window.ahead_max_ms - 1, digest=early)
    found = list(covered(PIPELINE, closed, [*on_topic, ahead]))
    assert found == own
    again = derived(closed, found, [])
    assert (again.finding, again.same) == (Finding.SAME, True)
    assert (again.digests, again.events) == (5, 10)


@pytest.mark.parametrize(
    ("changed", "finding", "same"),
    [
        (DIGESTS[1:], Finding.GONE, None),
        (DIGESTS[:-1], Finding.GONE, None),
        ([], Finding.GONE, None),
        ([*DIGESTS[:2], *DIGESTS[3:]], Finding.DIFFERENT, False),
    ],
)
def test_digests_that_are_missing_are_gone_at_an_end_and_a_difference_within(
    changed: list[Written], finding: Finding, same: bool | None
) -> None:
    """Retention takes the oldest; a hole is none of its doing."""
    again = derived(batch(DIGESTS), changed, [])
    assert (again.finding, again.same) == (finding, same)


def changes() -> Iterator[tuple[MicroBatch, list[Written], list[MicroBatch]]]:
    """What might have been done to a close: its record, its digests, the log."""
    closed = batch(DIGESTS)
    yield msgspec.structs.replace(closed, content_hash="2." + "f" * 32), DIGESTS, []
    forged = Written(offset=8, written_ms=END_MS, digest=digest(1, amount=101))
    yield closed, [DIGESTS[0], forged, *DIGESTS[2:]], []
    yield closed, DIGESTS, [msgspec.structs.replace(closed, content_hash="2." + "e" * 32)]


@pytest.mark.parametrize("change", list(changes()))
def test_whatever_was_changed_is_told(
    change: tuple[MicroBatch, list[Written], list[MicroBatch]],
) -> None:
    """Another hash, another amount in a digest, another content under the same identity."""
    closed, digests, others = change
    assert derived(closed, digests, others).same is False


def test_a_repetition_of_the_same_close_is_no_conflict() -> None:
    """Two records of one content under one identity are the same close."""
    closed = batch(DIGESTS)
    assert derived(closed, DIGESTS, [closed]).same is True


def test_a_problem_whose_weights_were_changed_no_longer_gives_its_own_hash() -> None:
    """The content is the same, and the model would be another."""
    nodes, weights = ("a", "b", "c"), ((0, 1, 16), (0, 2, 16), (1, 2, 16))
    one = Problem(
        problem_id="p0",
        subgraph=subgraph_hash(nodes, weights, ()),
        entity="account",
        nodes=nodes,
        weights=weights,
    )
    whole = batch(DIGESTS, (one,))
    assert altered(whole) == ()
    assert derived(whole, DIGESTS, []).same is True
    for change in ({"weights": ((0, 1, 15), *weights[1:])}, {"known_bad": (1,)}):
        forged = msgspec.structs.replace(one, **change)
        assert derived(batch(DIGESTS, (forged,)), DIGESTS, []).altered == ("p0",)
        assert derived(batch(DIGESTS, (forged,)), DIGESTS, []).same is False


def test_what_another_version_hashed_is_not_known() -> None:
    """0.1.0 hashed otherwise: nothing can be said, and nothing is accused."""
    old = msgspec.structs.replace(batch(DIGESTS), content_hash="f" * 32)
    again = derived(old, DIGESTS, [])
    assert (again.finding, again.same) == (Finding.UNKNOWN, None)


def test_a_callers_micro_batch_has_no_digests_and_its_models_are_held_to_their_hashes() -> None:
    """What nobody derived cannot be derived again: that is not known, and not gone."""
    nodes, weights = ("a", "b", "c"), ((0, 1, 8), (1, 2, 16))
    problem = Problem(
        problem_id="p0",
        subgraph=subgraph_hash(nodes, weights, ()),
        entity="account",
        nodes=nodes,
        weights=weights,
    )
    changes: dict[str, Any] = {"cause": Cause.CALL, "digest_offsets": (), "content_hash": "call.1"}
    called = msgspec.structs.replace(batch(DIGESTS, (problem,)), **changes)
    again = derived(called, [])
    assert (again.finding, again.same, again.content_hash) == (Finding.CALLED, None, "")
    other = msgspec.structs.replace(problem, weights=((0, 1, 9), (1, 2, 16)))
    assert altered(msgspec.structs.replace(called, problems=(other,))) == ("p0",)
