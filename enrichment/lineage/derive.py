"""One micro-batch derived again: its content from its digests, its models from its problems. Pure.

`enrichment window replay` does the same for whole partitions, problems included; here only the
digests that one close covers are wanted.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from enrichment.pipelines import Pipeline
from enrichment.records import Cause, Digest, MicroBatch
from enrichment.records.micro_batch import subgraph_hash
from enrichment.window.content import HASH_SCHEME, Content


class Finding(Enum):
    """How a micro-batch that was derived again compares with its record."""

    SAME = "same"
    DIFFERENT = "different"
    GONE = "gone"  # not all of its digests are there any more
    UNKNOWN = "unknown"  # 0.1.0 hashed it, otherwise than we do
    CALLED = "called"  # a caller gave it: it was made of no digests


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A digest with its place on the topic, and when it was written there."""

    offset: int
    written_ms: int
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """What came of it. `content_hash` is "" where not all digests are there, or none ever was."""

    finding: Finding
    content_hash: str
    digests: int
    events: int
    # Problems whose nodes, weights and flags no longer give their own hash.
    altered: tuple[str, ...] = ()
    # The record's identity has another content, too: the first counts.
    conflicting: bool = False

    @property
    def same(self) -> bool | None:
        """Whether it is what its record says; None where that is not known."""
        if self.finding is Finding.DIFFERENT or self.altered or self.conflicting:
            return False
        return True if self.finding is Finding.SAME else None


def extent(batch: MicroBatch) -> tuple[int, int, int]:
    """Partition, first and last offset of the digests that the close covers; -1 where none are."""
    return batch.digest_offsets[0] if batch.digest_offsets else (0, -1, -1)


def covered(pipeline: Pipeline, batch: MicroBatch, digests: Iterable[Written]) -> Iterator[Written]:
    """Those digests that are the close's own: of its shard and window, between its offsets.

    As the window stage places them: a digest that lay too far ahead of its time is in none.
    """
    _, first, last = extent(batch)
    for one in digests:
        digest = one.digest
        if (
            first <= one.offset <= last
            and (digest.pipeline, digest.shard) == (batch.pipeline, batch.shard)
            and batch.window_start_ms <= digest.pane_start_ms < batch.window_end_ms
            and digest.pane_start_ms - one.written_ms <= pipeline.window.ahead_max_ms
        ):
            yield one


def derived(
    batch: MicroBatch, own: Iterable[Written], others: Iterable[MicroBatch] = ()
) -> Derived:
    """The micro-batch from its `covered` digests; `others` bear its identity in the log, too."""
    content = Content(batch.window_start_ms, batch.window_end_ms)
    offsets = []
    for one in own:
        content.add(one.digest)
        offsets.append(one.offset)
    hashed = content.hash()
    _, first, last = extent(batch)
    if batch.cause is Cause.CALL:
        finding = Finding.CALLED
    elif not offsets or (min(offsets), max(offsets)) != (first, last):
        finding = Finding.GONE
    elif not batch.content_hash.startswith(HASH_SCHEME):
        finding = Finding.UNKNOWN
    else:
        finding = Finding.SAME if hashed == batch.content_hash else Finding.DIFFERENT
    return Derived(
        finding=finding,
        content_hash="" if finding in {Finding.GONE, Finding.CALLED} else hashed,
        digests=len(offsets),
        events=content.events,
        altered=altered(batch),
        conflicting=any(other.content_hash != batch.content_hash for other in others),
    )


def altered(batch: MicroBatch) -> tuple[str, ...]:
    """Problems that no longer give the hash under which they were solved."""
    if batch.cause is not Cause.CALL and not batch.content_hash.startswith(HASH_SCHEME):
        return ()
    return tuple(
        problem.problem_id
        for problem in batch.problems
        if subgraph_hash(problem.nodes, problem.weights, problem.known_bad) != problem.subgraph
    )
