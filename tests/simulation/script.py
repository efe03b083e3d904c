"""What the window stage will publish in a world: closes of shards, drawn before anything happens.

Each shard has groups of accounts whose ties change from window to window. A close says for each
account that is concerned which subgraph it lies in now, and gives what has changed to be solved.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Final

from enrichment.records import FeatureUpdate, MicroBatch, Problem, Source
from tests.sample.streams import PIPELINE, batch, problem

GROUPS: Final = 3
"""Groups of accounts in a shard."""

VARIANTS: Final = 3
"""Subgraphs that a group may make."""

HEARTBEAT: Final = "shard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """One close: graph features by account, and the micro-batch that makes it known."""

    batch: MicroBatch
    # Account -> its subgraph's hash, "" for none.
    shown: dict[str, str]

    @property
    def shard(self) -> str:
        """The shard that it is of."""
        return self.batch.shard

    def features(self, now_ms: int, beat: int) -> Iterator[FeatureUpdate]:
        """Graph features and the shard's heartbeat, as of now by the window stage's clock."""
        for account, subgraph in self.shown.items():
            yield self._update("account", account, subgraph, now_ms)
        yield self.heartbeat(now_ms, beat)

    def heartbeat(self, now_ms: int, beat: int) -> FeatureUpdate:
        """The word that the shard's window stage lives; `beat` keeps them in order."""
        return self._update(HEARTBEAT, self.shard, "", now_ms, beat)

    def _update(
        self, entity: str, id_: str, subgraph: str, now_ms: int, beat: int = 0
    ) -> FeatureUpdate:
        return FeatureUpdate(
            version=self.batch.version + beat,
            pipeline=PIPELINE,
            entity=entity,
            id=id_,
            group="graph",
            subgraph=subgraph,
            event_time_ms=self.batch.window_end_ms,
            computed_at_ms=now_ms,
            values={"subgraph_since_ms": float(now_ms)},
            source=Source(backend="window", micro_batch_id=self.batch.micro_batch_id),
        )


def script(draw: Random, shards: tuple[str, ...], closes: int) -> dict[str, list[Close]]:
    """The closes of each shard, in order."""
    return {
        shard: list(_of_shard(draw, shard, number, closes)) for number, shard in enumerate(shards)
    }


def _of_shard(draw: Random, shard: str, number: int, closes: int) -> Iterator[Close]:
    for window in range(closes):
        shown: dict[str, str] = {}
        problems: list[Problem] = []
        for group in draw.sample(range(GROUPS), draw.choice((0, 1, 1, 2, 3))):
            if draw.random() < 0.1:
                one = _problem(number * GROUPS + group, 0)
                shown |= dict.fromkeys(one.nodes, "")
                continue
            one = _problem(number * GROUPS + group, draw.randrange(VARIANTS))
            shown |= dict.fromkeys(one.nodes, one.subgraph)
            problems.append(one)
        made = batch(window, tuple(problems), shard=shard)
        yield Close(batch=made, shown=shown)


@cache
def _problem(group: int, variant: int) -> Problem:
    return problem(group, size=4, ring=3, seed=variant)
