"""Micro-batches derived again from digests and the log of closes, and held against that log. Pure.

The log says which windows closed, why, and which digests each covers; the digests say what was in
them. A close whose digests are all there must come out with the content hash that was logged. Its
problems may differ for reasons that no log holds: an outcome that came late, a worker that started
again and solved a subgraph once more, or digests from before the first that is still there, which
the graph of that time knew. That is counted apart.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from enrichment.pipelines import Pipeline
from enrichment.records import Digest, MicroBatch, Outcome
from enrichment.window.close import Chunk, LoggedClose
from enrichment.window.content import HASH_SCHEME
from enrichment.window.partition import Log, Partition
from enrichment.window.shard import Moment, Shard


class Finding(Enum):
    """How a close that was derived again compares with the one that was logged."""

    SAME = "same"
    DIFFERENT = "different"  # its digests are all there, and give another content
    # Some of its digests are gone, or 0.1.0 hashed it, otherwise than we do: nothing can be said.
    INCOMPLETE = "incomplete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One logged close, derived again."""

    micro_batch: MicroBatch
    finding: Finding
    content_hash: str = ""
    # Whether also the problems are the very same; None where the content is not.
    same_problems: bool | None = None


class Replay(Partition):
    """A partition that follows its log, deriving each close as if it were new.

    `closes` are the logged ones in order, the first of each identity alone counts; `start` is the
    offset of the first digest there is.
    """

    def __init__(
        self, pipeline: Pipeline, number: int, *, start: int, closes: Iterable[MicroBatch]
    ) -> None:
        super().__init__(pipeline, number, start=start)
        self.compared: list[Compared] = []
        self._left: dict[str, MicroBatch] = {}
        for batch in closes:
            self._left.setdefault(batch.micro_batch_id, batch)
        self.follow(Log(closes=tuple(enumerate(self._left.values()))), now_ms=0)

    def read(self, digest: Digest, offset: int, written_ms: int) -> None:
        """Take in the next digest; `compared` grows by the closes that it completes."""
        self.receive(digest, offset, written_ms=written_ms, now_ms=written_ms)

    def learn(self, outcome: Outcome) -> None:
        """Take in an outcome: before the digests, as a rebuild does."""
        self.judge(outcome, now_ms=0)

    def finish(self) -> None:
        """Note the closes to which no digests led."""
        for batch in self._left.values():
            self.compared.append(Compared(micro_batch=batch, finding=Finding.INCOMPLETE))
        self._left = {}

    def follow_close(self, shard: Shard, logged: LoggedClose, chunk: Chunk) -> None:
        """Derive the close again where all of its digests are there."""
        batch = logged.micro_batch
        del self._left[batch.micro_batch_id]
        complete = chunk.offset_first == logged.offset_first and chunk.offset_first >= 0
        if not complete or not batch.content_hash.startswith(HASH_SCHEME):
            shard.follow(logged, chunk)
            self.compared.append(Compared(micro_batch=batch, finding=Finding.INCOMPLETE))
            return
        moment = Moment(
            partition=self.number,
            read_through=batch.read_through,
            watermark_ms=batch.watermark_ms or None,
            now_ms=batch.closed_at_ms,
            known_bad=self.known_bad,
        )
        again = shard.close(chunk, batch.cause, moment).micro_batch
        same = again.content_hash == batch.content_hash
        self.compared.append(
            Compared(
                micro_batch=batch,
                finding=Finding.SAME if same else Finding.DIFFERENT,
                content_hash=again.content_hash,
                same_problems=again.problems == batch.problems if same else None,
            )
        )
