"""One shard: at each close, a chunk of a window becomes a micro-batch and classical features."""

from dataclasses import dataclass
from typing import Final

from enrichment.pipelines import Pipeline
from enrichment.records import (
    Cause,
    Digest,
    FeatureUpdate,
    MicroBatch,
    Outcome,
    Problem,
    Source,
)
from enrichment.records.micro_batch import micro_batch_id
from enrichment.window import candidates, classical
from enrichment.window.candidates import Candidate, Limits
from enrichment.window.classical import Placement
from enrichment.window.close import Chunk, LoggedClose, Windows
from enrichment.window.content import Content, Entry
from enrichment.window.graph import Entity
from enrichment.window.horizon import Changes, Horizon
from enrichment.window.known_bad import KnownBad
from enrichment.window.memory import Memory
from enrichment.window.problems import Ranking, problem_of
from enrichment.window.slices import Origin

GROUP: Final = "graph"
HEARTBEAT: Final = "shard"  # the entity kind under which a shard's window stage is heard
# Of problems, for so many times as many as a close has room for: a storm must not grow with time.
CARRIED: Final = 4
_REPAIRS_MAX: Final = 3  # how far the breaking up of one subgraph may reach into others


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """One close: features first, then the micro-batch that makes it known."""

    micro_batch: MicroBatch
    features: tuple[FeatureUpdate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What a close knows of the world around the shard."""

    partition: int
    read_through: int  # the last digest offset that has been read
    watermark_ms: int | None
    now_ms: int  # the wall clock
    known_bad: KnownBad


class Shard:
    """The windows, the horizon and the memory of one shard."""

    def __init__(self, pipeline: Pipeline, name: str, *, heard_ms: int) -> None:
        self.name = name
        self._pipeline = pipeline
        self._limits = Limits.of(pipeline)
        self._by_event_time = pipeline.features.clock == "event"
        window = pipeline.window
        self.windows = Windows(
            size_ms=window.size_ms,
            events_max=window.events_max,
            open_max_ms=window.size_ms + window.lateness_ms + window.open_max_ms,
        )
        self.horizon = Horizon(pipeline)
        self.memory = Memory()
        # When a digest of the shard last came, by the wall clock.
        self.heard_ms = heard_ms
        self.beat_ms = 0
        self._beat_version = 0
        # What late digests and outcomes touched since the last close. Outcomes bear their time.
        self._touched: set[Entity] = set()
        self._judged: list[tuple[int, Entity]] = []
        self._ranking = Ranking(self.horizon.node_kind)

    def fold_late(self, digest: Digest, offset: int) -> None:
        """Take a late digest into the horizon; what it touches is part of the next close."""
        size_ms = self._pipeline.window.size_ms
        start_ms = digest.pane_start_ms // size_ms * size_ms
        content = Content(start_ms, start_ms + size_ms)
        content.add(digest)
        self._ranking.add(content)
        changes = self.horizon.fold(content, offset, Origin(late=offset))
        self._touched |= changes.untied | _counts(content).keys()

    def judge(self, outcome: Outcome) -> None:
        """Note that an outcome changed what is known of an entity."""
        self._judged.append((outcome.decided_at_ms, Entity(outcome.entity, outcome.id)))

    def follow(self, logged: LoggedClose, chunk: Chunk) -> bool:
        """Go through a logged close without publishing; False if its content is not what it was.

        The graph is then what it was. Where those lie who were in no problem is not in the log: it
        is found anew, and perhaps solved once more, when they are next concerned.
        """
        if chunk.offset_first >= 0:  # else its digests are from before those that are needed
            origin = Origin(close=logged.log_offset)
            self._touched |= self.horizon.fold(chunk.content, chunk.offset_first, origin).untied
            self._ranking.add(chunk.content)
        batch = logged.micro_batch
        self._advance(chunk, batch.cause)
        for problem in batch.problems:
            self._note_solved(problem, placed=True)
        complete = chunk.offset_first == logged.offset_first
        return not complete or chunk.content.hash() == batch.content_hash

    def close(self, chunk: Chunk, cause: Cause, moment: Moment) -> Close:
        """Close a chunk that `windows` took off."""
        counts = _counts(chunk.content)
        changes = self.horizon.fold(chunk.content, chunk.offset_first)
        self._ranking.add(chunk.content)
        advanced = self._advance(chunk, cause)
        touched = counts.keys() | changes.untied | advanced.untied | self._touched | self._due()
        self._touched = set()
        placements, found = self._place(touched, changes.restated | advanced.restated, moment)
        id_ = micro_batch_id(self._pipeline.name, self.name, chunk.window_start_ms, chunk.sequence)
        problems, left_out = self._problems(found, id_)
        micro_batch = MicroBatch(
            micro_batch_id=id_,
            pipeline=self._pipeline.name,
            shard=self.name,
            window_start_ms=chunk.window_start_ms,
            window_end_ms=chunk.window_end_ms,
            sequence=chunk.sequence,
            cause=cause,
            watermark_ms=moment.watermark_ms or 0,
            closed_at_ms=moment.now_ms,
            content_hash=chunk.content.hash(),
            events=chunk.events,
            digest_offsets=((moment.partition, chunk.offset_first, chunk.offset_last),),
            problems=problems,
            left_out=left_out,
            read_through=moment.read_through,
        )
        restated = touched | changes.restated | advanced.restated
        features = self._features(placements, restated, counts, micro_batch)
        self._forget(placements)
        return Close(micro_batch=micro_batch, features=(*features, self.heartbeat(moment)))

    def heartbeat(self, moment: Moment) -> FeatureUpdate:
        """The word that this shard's window stage lives, and how far it has come."""
        size_ms = self._pipeline.window.size_ms
        through_ms = self.horizon.now_ms
        if moment.watermark_ms is not None:
            # Windows that end before the watermark are closed, or had no events.
            through_ms = max(through_ms, moment.watermark_ms // size_ms * size_ms)
        self.beat_ms = moment.now_ms
        self._beat_version = max(self._beat_version + 1, moment.now_ms)
        return FeatureUpdate(
            version=self._beat_version,
            pipeline=self._pipeline.name,
            entity=HEARTBEAT,
            id=self.name,
            group=GROUP,
            subgraph="",
            event_time_ms=through_ms,
            computed_at_ms=moment.now_ms,
            values={"watermark_ms": through_ms},
        )

    def _advance(self, chunk: Chunk, cause: Cause) -> Changes:
        """Move the horizon's time: to the window's end only where all before that has come."""
        ended = cause is Cause.WATERMARK
        newest_ms = self.horizon.newest_ms + 1
        as_of_ms = chunk.window_end_ms if ended else min(chunk.window_end_ms, newest_ms)
        changes = self.horizon.advance(as_of_ms)
        self._ranking.forget(changes.untied - self.horizon.tallies.keys())
        return changes

    def _due(self) -> set[Entity]:
        """The entities of outcomes that were decided by now."""
        as_of_ms = self.horizon.now_ms
        due = {entity for decided_ms, entity in self._judged if decided_ms < as_of_ms}
        self._judged = [entry for entry in self._judged if entry[0] >= as_of_ms]
        horizon = self.horizon
        return {e for e in due if e in horizon.tallies or e.id in horizon or e in horizon.members}

    def _place(
        self, touched: set[Entity], restated: set[Entity], moment: Moment
    ) -> tuple[dict[Entity, Placement], "_Found"]:
        """Where everybody lies whom this close concerns."""
        kind, horizon, limits = self.horizon.node_kind, self.horizon, self._limits
        unplaced = {entity for entity in restated if entity not in self.memory.placed}
        accounts = {e.id for e in touched | unplaced if e.kind == kind}
        # First those whose subgraphs these may break up: left out, they would be in none.
        mates = {e.id for e in self.memory.mates(touched | unplaced) if e.kind == kind}
        adjacent = self._adjacent(touched | unplaced) - mates
        beside = sorted(mates) + sorted(adjacent)
        found = candidates.explore(horizon, accounts, beside, limits)
        near = classical.vicinity(horizon, found, moment.known_bad, horizon.now_ms, limits)
        bad = {account for account, distance in near.distances.items() if distance == 0}
        all_pieces, crumbs = candidates.pieces(found, limits.variables_max)
        placements: dict[Entity, Placement] = {}
        ties: dict[Entity, tuple[Candidate, dict[Entity, Placement]]] = {}
        gathered = []
        concerned = accounts.union(beside)
        for _ in range(_REPAIRS_MAX):
            chosen = [piece for piece in all_pieces if not concerned.isdisjoint(piece)]
            all_pieces = [piece for piece in all_pieces if concerned.isdisjoint(piece)]
            for piece in chosen:
                one = candidates.candidate(horizon, found, piece, bad, limits)
                gathered.append(one)
                placed = classical.place_accounts(one, found, near, kind)
                placements.update(placed)
                for attribute, members in one.shared.items():
                    best = ties.get(attribute)
                    if best is None or len(members) > len(best[0].shared[attribute]):
                        ties[attribute] = (one, placed)
            # Whose subgraph these break up is concerned as well.
            concerned = {e.id for e in self.memory.orphans(placements) if e.kind == kind}
            if not concerned:
                break
        for entity in (touched | unplaced | ties.keys()) - placements.keys():
            if entity.kind == kind:
                placements[entity] = Placement(
                    known_bad_near=near.near(entity), bad_rank=near.ranks.get(entity.id, 0.0)
                )
            else:
                placements[entity] = classical.place_attribute(
                    horizon, entity, ties.get(entity), near, limits
                )
        for entity in self.memory.orphans(placements):
            left = self.memory.placed.get(entity, Placement())
            placements[entity] = Placement(
                degree=left.degree,
                known_bad_near=left.known_bad_near,
                bad_rank=left.bad_rank,
                size=int(entity.kind == kind),
            )
        return placements, _Found(gathered, crumbs, len(found.hubs))

    def _adjacent(self, touched: set[Entity]) -> set[str]:
        """Accounts beside a touched attribute: its degree may have changed, and their weights."""
        adjacent: set[str] = set()
        for entity in touched:
            members = self.horizon.members.get(entity)
            # Up to twice the hub limit: an attribute that has just become a hub unties them.
            if members and len(members) <= 2 * self._limits.degree_max[entity.kind]:
                adjacent.update(members)
        return adjacent

    def _problems(self, found: "_Found", id_: str) -> tuple[tuple[Problem, ...], dict[str, int]]:
        """The problems worth solving, and what was left out.

        Those come first whose accounts have moved most since they were last solved. Some of those
        for which there is no room take part in the next close.
        """
        kind, memory = self.horizon.node_kind, self.memory
        rings = [one for one in found.pieces if one.subgraph]
        changed = [one for one in rings if not memory.solved(one, kind)]
        changed.sort(key=self._ranking.key)
        most = self._limits.problems_max
        chosen = changed[:most]
        for one in changed[most : CARRIED * most]:
            self._touched.update(Entity(kind, node) for node in one.nodes)
        problems = tuple(
            problem_of(self.horizon, one, f"{id_}|{n}") for n, one in enumerate(chosen)
        )
        for problem in problems:
            self._note_solved(problem)
        left_out = {
            "size": found.crumbs,
            "hub": found.hubs,
            "unchanged": len(rings) - len(changed),
            "cap": len(changed) - len(chosen),
        }
        return problems, {reason: number for reason, number in left_out.items() if number}

    def _note_solved(self, problem: Problem, *, placed: bool = False) -> None:
        self.memory.note_solved(problem, placed=placed)
        self._ranking.solved(problem)

    def _features(
        self,
        placements: dict[Entity, Placement],
        restated: set[Entity],
        counts: dict[Entity, Entry],
        micro_batch: MicroBatch,
    ) -> list[FeatureUpdate]:
        """Updates for whoever was touched, restated or placed anew."""
        wall_ms = micro_batch.closed_at_ms
        clock_ms = self.horizon.now_ms if self._by_event_time else wall_ms
        source = Source(backend="window", micro_batch_id=micro_batch.micro_batch_id)
        scale = self._pipeline.stream.amount_scale
        news = [e for e, where in placements.items() if self.memory.place(e, where, clock_ms)]
        updates = []
        for entity in sorted(restated.union(news)):
            placement = self.memory.placed[entity]
            velocity = counts.get(entity, (0, 0))[0]
            values = classical.values(self.horizon, entity, placement, velocity, scale)
            values["subgraph_since_ms"] = self.memory.since_ms(entity)
            updates.append(
                FeatureUpdate(
                    version=micro_batch.version,
                    pipeline=self._pipeline.name,
                    entity=entity.kind,
                    id=entity.id,
                    group=GROUP,
                    subgraph=placement.subgraph,
                    event_time_ms=self.horizon.now_ms,
                    computed_at_ms=wall_ms,
                    values=values,
                    source=source,
                )
            )
        return updates

    def _forget(self, placements: dict[Entity, Placement]) -> None:
        """Let the memory go of what the horizon no longer holds."""
        horizon = self.horizon
        self.memory.forget(
            entity
            for entity in placements
            if entity not in horizon.tallies
            and entity not in horizon.members
            and not (entity.kind == horizon.node_kind and entity.id in horizon)
        )


@dataclass(frozen=True, slots=True)
class _Found:
    """What exploring gave: pieces around what was touched, splitting's crumbs, and hubs met."""

    pieces: list[Candidate]
    crumbs: int
    hubs: int


def _counts(content: Content) -> dict[Entity, Entry]:
    """Entity -> its entry, [events, amount, newest time]."""
    return {
        Entity(kind, id_): entry
        for kind, tallies in content.tallies.items()
        for id_, entry in tallies.items()
    }
