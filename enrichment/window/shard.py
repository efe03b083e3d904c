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
from enrichment.window.candidates import Candidate
from enrichment.window.classical import Placement
from enrichment.window.close import Chunk, LoggedClose, Windows
from enrichment.window.content import HASH_SCHEME, Content
from enrichment.window.entities import Entity
from enrichment.window.horizon import Changes, Horizon
from enrichment.window.known_bad import KnownBad
from enrichment.window.limits import Limits
from enrichment.window.memory import Memory
from enrichment.window.neighbourhood import explore
from enrichment.window.placing import NOWHERE, Placing
from enrichment.window.problems import Ranking, problems_of
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
        # What late digests and outcomes touched since the last close, and who left the horizon, by
        # number. Outcomes bear their time, and what they are about may have no number yet.
        self._touched: set[int] = set()
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
        self._touched |= changes.untied | changes.counted.keys()

    def judge(self, outcome: Outcome) -> None:
        """Note that an outcome changed what is known of an entity."""
        self._judged.append((outcome.decided_at_ms, Entity(outcome.entity, outcome.id)))

    def follow(self, logged: LoggedClose, chunk: Chunk) -> bool:
        """Go through a logged close without publishing; False if its content is not what it was.

        The graph is then what it was. Where those lie who were in no problem is not in the log: it
        is found anew, and perhaps solved once more, when they are next concerned.
        """
        held = self.horizon.holds
        if chunk.offset_first >= 0:  # else its digests are from before those that are needed
            origin = Origin(close=logged.log_offset)
            changes = self.horizon.fold(chunk.content, chunk.offset_first, origin)
            self._ranking.add(chunk.content)
            # Who is not held is to be released at the next close.
            self._touched |= changes.untied | {n for n in changes.counted if not held(n)}
        batch = logged.micro_batch
        advanced = self._advance(chunk, batch.cause)
        self._touched |= advanced.untied | {n for n in advanced.restated if not held(n)}
        for problem in batch.problems:
            self._follow_solved(problem)
        complete = chunk.offset_first == logged.offset_first
        if not complete or not batch.content_hash.startswith(HASH_SCHEME):
            return True
        return chunk.content.hash() == batch.content_hash

    def close(self, chunk: Chunk, cause: Cause, moment: Moment) -> Close:
        """Close a chunk that `windows` took off."""
        changes = self.horizon.fold(chunk.content, chunk.offset_first)
        self._ranking.add(chunk.content)
        advanced = self._advance(chunk, cause)
        touched = changes.counted.keys() | changes.untied | advanced.untied
        touched |= self._touched | self._due()
        restated = changes.restated | advanced.restated
        self._touched = set()
        placements, found = self._place(touched, restated, moment)
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
            traces=chunk.traces,
        )
        features = self._features(placements, touched | restated, changes.counted, micro_batch)
        self._release(placements)
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
        return self.horizon.advance(as_of_ms)

    def _due(self) -> set[int]:
        """The entities of outcomes that were decided by now."""
        horizon = self.horizon
        as_of_ms, find = horizon.now_ms, horizon.entities.find
        due = {find(*entity) for decided_ms, entity in self._judged if decided_ms < as_of_ms}
        self._judged = [entry for entry in self._judged if entry[0] >= as_of_ms]
        return {number for number in due if number is not None and horizon.holds(number)}

    def _place(
        self, touched: set[int], restated: set[int], moment: Moment
    ) -> tuple[dict[int, Placement], "_Found"]:
        """Where everybody lies whom this close concerns."""
        horizon, limits, memory = self.horizon, self._limits, self.memory
        is_node = horizon.entities.is_node
        concerned = touched | {entity for entity in restated if entity not in memory.placed}
        accounts = {entity for entity in concerned if is_node[entity]}
        # First those whose subgraphs these may break up: left out, they would be in none.
        mates = {entity for entity in memory.mates(concerned) if is_node[entity]} - accounts
        adjacent = self._adjacent(concerned) - mates - accounts
        found = explore(horizon, accounts, (mates, adjacent), limits)
        near = classical.vicinity(horizon, found, moment.known_bad, horizon.now_ms, limits)
        pieces, crumbs = candidates.pieces(horizon, found, limits.variables_max)
        placing = Placing(horizon, found, near, limits)
        placements = placing.placements
        around = accounts | mates | adjacent
        placing.place_lone(around)
        for _ in range(_REPAIRS_MAX):
            pieces = placing.place_pieces(pieces, around)
            # Whose subgraph these break up is concerned as well.
            around = {entity for entity in memory.orphans(placements) if is_node[entity]}
            if not around:
                break
            placing.place_lone(around)
        placing.place_others((concerned | placing.ties.keys()) - placements.keys())
        for entity in memory.orphans(placements):
            left = memory.placed.get(entity, NOWHERE)
            placements[entity] = Placement(
                degree=left.degree,
                known_bad_near=left.known_bad_near,
                bad_rank=left.bad_rank,
                size=is_node[entity],
            )
        return placements, _Found(placing.gathered, crumbs, len(found.hubs))

    def _adjacent(self, touched: set[int]) -> set[int]:
        """Accounts beside a touched attribute: its degree may have changed, and their weights."""
        adjacent: set[int] = set()
        entities, shared = self.horizon.entities, self.horizon.shared
        named, is_node, degree_max = entities.named, entities.is_node, self._limits.degree_max
        for entity in touched:
            members = shared.get(entity)
            if members is None or is_node[entity]:
                continue
            # Up to twice the hub limit: an attribute that has just become a hub unties them.
            if len(members) <= 2 * degree_max[named[entity].kind]:
                adjacent.update(members)
        return adjacent

    def _problems(self, found: "_Found", id_: str) -> tuple[tuple[Problem, ...], dict[str, int]]:
        """The problems worth solving, and what was left out.

        Those come first whose accounts have moved most since they were last solved. Some of those
        for which there is no room take part in the next close.
        """
        memory = self.memory
        rings = [one for one in found.pieces if one.subgraph]
        changed = [one for one in rings if not memory.solved(one)]
        changed.sort(key=self._ranking.key)
        most = self._limits.problems_max
        chosen = changed[:most]
        for one in changed[most : CARRIED * most]:
            self._touched.update(one.numbers)
        problems = []
        for one, problem in problems_of(self.horizon, chosen, id_):
            memory.note_solved(one.subgraph, (*one.numbers, *one.shared))
            self._ranking.solved(problem)
            problems.append(problem)
        left_out = {
            "size": found.crumbs,
            "hub": found.hubs,
            "unchanged": len(rings) - len(changed),
            "cap": len(changed) - len(chosen),
        }
        return tuple(problems), {reason: number for reason, number in left_out.items() if number}

    def _follow_solved(self, problem: Problem) -> None:
        """Note a problem of a logged close, for those of its entities that the horizon holds."""
        find = self.horizon.entities.find
        found = [find(problem.entity, node) for node in problem.nodes]
        found += [find(shared.entity, shared.id) for shared in problem.shared]
        held = [number for number in found if number is not None]
        self.memory.note_solved(problem.subgraph, held, placed=True)
        self._ranking.solved(problem)

    def _features(
        self,
        placements: dict[int, Placement],
        restated: set[int],
        counted: dict[int, int],
        micro_batch: MicroBatch,
    ) -> list[FeatureUpdate]:
        """Updates for whoever was touched, restated or placed anew."""
        horizon, memory, version = self.horizon, self.memory, micro_batch.version
        wall_ms, event_time_ms = micro_batch.closed_at_ms, horizon.now_ms
        clock_ms = event_time_ms if self._by_event_time else wall_ms
        source = Source(backend="window", micro_batch_id=micro_batch.micro_batch_id)
        chosen = list(restated.union(memory.place(placements, clock_ms)))
        name, scale = self._pipeline.name, self._pipeline.stream.amount_scale
        named, placed, since_ms = horizon.entities.named, memory.placed, memory.since_ms
        updates = []
        found = classical.values(horizon, chosen, placed, counted, scale)
        for entity, values in zip(chosen, found, strict=True):
            values["subgraph_since_ms"] = since_ms[entity]
            kind, id_ = named[entity]
            updates.append(
                FeatureUpdate(
                    version=version,
                    pipeline=name,
                    entity=kind,
                    id=id_,
                    group=GROUP,
                    subgraph=placed[entity].subgraph,
                    event_time_ms=event_time_ms,
                    computed_at_ms=wall_ms,
                    values=values,
                    source=source,
                )
            )
        return updates

    def _release(self, placements: dict[int, Placement]) -> None:
        """Let go of those who are in the horizon no more; their numbers are used again."""
        named = self.horizon.entities.named
        gone = [entity for entity in placements if not self.horizon.holds(entity)]
        kind = self.horizon.node_kind
        self._ranking.forget(named[entity].id for entity in gone if named[entity].kind == kind)
        self.memory.forget(gone)
        self.horizon.release(gone)


@dataclass(frozen=True, slots=True)
class _Found:
    """What exploring gave: pieces around what was touched, splitting's crumbs, and hubs met."""

    pieces: list[Candidate]
    crumbs: int
    hubs: int
