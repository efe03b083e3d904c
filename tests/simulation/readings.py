"""What readers are told, held against what was so: nothing stale is called fresh."""

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Final, NamedTuple

import msgspec

from enrichment.feature.store import SHARD_KIND
from enrichment.records import FeatureUpdate
from tests.sample.streams import PIPELINE
from tests.simulation.world import Violation, World

_feature: Final = msgspec.json.Decoder(FeatureUpdate).decode

BEATS: Final = f"features:{PIPELINE}:{SHARD_KIND}:"

GRAPHS: Final = f"features:{PIPELINE}:account:"

LATE_MS: Final = 30_000
"""How late one partition's features may come to Redis: its projector dies, and the next, too. Its
shard's heartbeats may go on meanwhile, in another partition: that is a limit of the promise."""


class Shown(NamedTuple):
    """What a record said of where an account lies."""

    at_ms: int
    version: int
    subgraph: str
    shard: str


@dataclass(slots=True, eq=False)
class Readings:
    """What was shown of accounts, and what of it has come to Redis."""

    world: World
    # Account -> what the topic has shown of it, in order.
    shown: defaultdict[str, list[Shown]] = field(default_factory=lambda: defaultdict(list))
    # What of it has come to Redis, and when first.
    arrived: dict[tuple[str, int, str], int] = field(default_factory=dict)
    # Shard or account -> when it was spoken of last, as far as Redis has heard.
    spoken: dict[str, int] = field(default_factory=dict)

    def show(self, update: FeatureUpdate) -> None:
        """The topic shows where an account lies."""
        self.shown[update.id].append(
            Shown(self.world.now_ms, update.version, update.subgraph, shard_of(update))
        )

    def cached(self, key: str, value: bytes) -> None:
        """Redis holds a value from now on."""
        if key.startswith(BEATS):
            beat = _feature(value)
            self.spoken[beat.id] = beat.computed_at_ms
        if key.startswith(GRAPHS) and key.endswith(":graph"):
            update = _feature(value)
            self.spoken[update.id] = update.computed_at_ms
            seen = (update.id, update.version, update.subgraph)
            self.arrived.setdefault(seen, self.world.now_ms)

    def called_fresh(self, account: str, subgraph: str, within_ms: int) -> None:
        """A reader was told that this subgraph is the one that the account lies in.

        So it was `within_ms` ago, as far as Redis had heard by then; and what Redis hears is late
        by no more than LATE_MS.
        """
        shown = self.shown[account]
        since_ms = self.world.now_ms - within_ms
        # Where no heartbeat has come yet, the value itself is the shard's last word.
        if max(self.spoken.get(shown[-1].shard, 0), self.spoken.get(account, 0)) < since_ms:
            raise Violation(f"{account} is called fresh, and its shard was silent for longer")
        for one, left in zip_longest(shown, shown[1:]):
            if one.subgraph != subgraph:
                continue
            if left is None or left.subgraph == subgraph:
                return
            arrived_ms = self.arrived.get((account, left.version, left.subgraph), since_ms)
            if arrived_ms >= since_ms and left.at_ms >= since_ms - LATE_MS:
                return
        raise Violation(f"{account} is called fresh in {subgraph!r}, it has left: {shown[-3:]}")


def shard_of(update: FeatureUpdate) -> str:
    """The shard whose window stage said it."""
    assert update.source is not None
    return update.source.micro_batch_id.split("|")[1]
