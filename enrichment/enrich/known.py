"""What is known of entities: their features as last read, and the views made of them.

An entity that was read before is not read again until the cache says that it has changed: after
one small read, whose answer comes behind every such word, what is held is what a read would give.
The same map answers when the cache is away, and for those of a batch's entities that a read did
not come to in time. It is bounded: what was not used while the younger half filled up is dropped.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from enrichment.enrich.events import Events
from enrichment.enrich.features import Cache, FeaturePlan, Known
from enrichment.enrich.lookup import EntityGroup, Lookup
from enrichment.enrich.score import Scorer, View
from enrichment.records import FeatureUpdate
from enrichment.rollout.control import ControlState, Withdrawals

ENTITIES_MAX: Final = 50_000  # of each kind, some 3 KiB each: more than a stream shows in seconds


class _Entity(Known):
    """One entity: its values by group, and what they come to where it appears."""

    __slots__ = ("away", "from_ms", "raw", "until_ms", "view", "views", "where")

    def __init__(self) -> None:
        super().__init__()
        self.raw: Sequence[bytes | None] = ()
        # Where it appeared last, and its view there, which holds from one time to another: most
        # appear in one place, and looking for that in a dict takes memory from far away.
        self.where = ""
        self.from_ms = self.until_ms = 0
        self.view: View | None = None
        # Where -> (from, until, view), all of them with the cache away, or none.
        self.away = False
        self.views: dict[str, tuple[int, int, View]] = {}

    def forget_views(self) -> None:
        """Have them made again."""
        self.where, self.view = "", None
        self.views.clear()


class _Kind:
    """The entities of one kind, in two halves of which the older one is let go of whole."""

    __slots__ = ("groups", "held_ms", "not_held", "old", "unread", "young")

    def __init__(self, groups: tuple[str, ...]) -> None:
        self.groups = groups
        self.young: dict[str, _Entity] = {}
        self.old: dict[str, _Entity] = {}
        # Those that must be read before they are used again.
        self.unread: set[str] = set()
        # When all of them but these were last known to hold, as all may have changed since.
        self.held_ms = 0
        self.not_held: set[str] = set()

    def admit(self, ids: set[str]) -> None:
        """Have all of these in the younger half, new ones as unread."""
        if len(self.young) > ENTITIES_MAX // 2:
            self.unread.difference_update(self.old)
            self.old, self.young = self.young, {}
        for id_ in ids.difference(self.young):
            entity = self.old.pop(id_, None)
            if entity is None:
                entity = _Entity()
                self.unread.add(id_)
            self.young[id_] = entity

    def doubt(self, held_ms: int) -> None:
        """Have all of them read before their next use: there are too many to look at each."""
        self.held_ms, self.not_held = held_ms, self.unread
        self.unread = {*self.young, *self.old}

    def __iter__(self) -> Iterator[str]:
        yield from self.young
        yield from self.old

    def get(self, id_: str) -> _Entity | None:
        """The entity, if it is remembered."""
        return self.young.get(id_) or self.old.get(id_)


class KnownFeatures:
    """The features of one pipeline's entities, for one batch of events after another."""

    def __init__(
        self,
        plan: FeaturePlan,
        scorer: Scorer,
        lookup: Lookup,
        now_ms: Callable[[], int],
        control: Callable[[], ControlState],
    ) -> None:
        """`control` is asked before each batch for what is in force."""
        self._plan = plan
        self._scorer = scorer
        self._lookup = lookup
        self._now_ms = now_ms
        self._control = control
        self._kinds = {kind: _Kind(groups) for kind, groups in plan.groups.items()}
        self._heard: dict[str, FeatureUpdate] = {}
        self._withdrawals: Withdrawals | None = None
        self._rebuilding: frozenset[int] = frozenset()
        # When the cache last answered, and whether it tells what has changed since.
        self._answered_at_ms = 0
        self._tracked = False

    def views(self, events: Events) -> tuple[int, list[tuple[View, ...]]]:
        """The decision time, and the views of each event's entities in the order of roles."""
        ids = {kind: set[str]() for kind in self._kinds}
        for role, column in events.entities.items():
            if (kind := self._plan.kinds[role]) in ids:
                ids[kind].update(column)  # type: ignore[arg-type]  # None is taken out below
        for distinct in ids.values():
            distinct.discard(None)
        cache = self._read(set(events.shards), ids)
        now_ms = self._now_ms()
        times = events.occurred_at_ms if self._plan.rules.by_event_time else None
        columns = [self._column(role, events, cache, now_ms, times) for role in self._scorer.roles]
        return now_ms, list(zip(*columns, strict=True))

    def _read(self, shards: set[str], ids: dict[str, set[str]]) -> Cache:
        """Read what has changed, and whatever of these ids is not known."""
        withdrawals = self._control().withdrawals
        if withdrawals is not self._withdrawals:
            self._withdrawals = withdrawals
            self._drop_views()
        for name, kind in self._kinds.items():
            kind.admit(ids[name])
            if not self._lookup.tracking:
                kind.unread |= ids[name]
        wanted = self._unread(ids)
        came = self._fetch(sorted(shards), wanted)
        if came == len(wanted) and self._lookup.tracking and (again := self._unread(ids)):
            # Seldom: what was known had changed by the time of the read.
            self._fetch([], again)
        return Cache(
            heard=self._heard,
            rebuilding=self._rebuilding,
            partitions=self._lookup.partitions,
            answers=came is not None,
            withdrawals=withdrawals,
        )

    def _unread(self, ids: dict[str, set[str]]) -> list[EntityGroup]:
        """What is to be read of these entities, one whole entity after another."""
        return [
            (name, id_, group)
            for name, kind in self._kinds.items()
            for id_ in ids[name] & kind.unread
            for group in kind.groups
        ]

    def _fetch(self, shards: list[str], wanted: list[EntityGroup]) -> int | None:
        """Read these; how many came in time, None where the cache did not answer."""
        found = self._lookup.read(shards, wanted)
        if found is None:
            return None
        self._heard |= found.heard
        if found.rebuilding != self._rebuilding:
            self._rebuilding = found.rebuilding
            self._drop_views()
        self._tracked = self._lookup.tracking
        if self._tracked:  # if not, all is read before each use, and nothing need be noted
            self._note_changed(found.changed)
        self._answered_at_ms = self._now_ms()
        self._keep(wanted, found.values)
        if self._tracked:
            self._note_changed(found.overtaken)
        return len(found.values)

    def _keep(self, wanted: list[EntityGroup], values: list[bytes | None]) -> None:
        """Remember the entities of which all groups were read."""
        at = 0
        while at < len(values):
            name, id_, _ = wanted[at]
            kind = self._kinds[name]
            if at + len(kind.groups) > len(values):
                break
            entity = kind.young[id_]
            entity.read_at_ms = self._answered_at_ms
            kind.unread.discard(id_)
            raw = values[at : at + len(kind.groups)]
            at += len(kind.groups)
            if raw == entity.raw:
                continue
            # Only where everything is read each time is it worth its memory.
            entity.raw = () if self._lookup.tracking else raw
            entity.forget_views()
            entity.updates = updates = {}
            for group, value in zip(kind.groups, raw, strict=True):
                if value is not None and (update := self._lookup.decoded(value)) is not None:
                    self._plan.trim(name, update)
                    updates[group] = update

    def _note_changed(self, changed: set[tuple[str, str]] | None) -> None:
        """Have these entities read before their next use, or all: what held, held until now."""
        if changed is None:
            for kind in self._kinds.values():
                kind.doubt(self._answered_at_ms if self._tracked else 0)
            return
        for name, id_ in changed:
            known = self._kinds.get(name)
            if known is not None and (entity := known.get(id_)) is not None:
                self._hold(known, id_, entity)
                known.unread.add(id_)

    def _hold(self, kind: _Kind, id_: str, entity: _Entity) -> None:
        """Note that what was not said to have changed held until the cache last answered."""
        if id_ not in kind.unread:
            if self._tracked:
                entity.read_at_ms = self._answered_at_ms
        elif id_ not in kind.not_held:
            entity.read_at_ms = max(entity.read_at_ms, kind.held_ms)

    def _column(
        self, role: str, events: Events, cache: Cache, now_ms: int, times: Sequence[int] | None
    ) -> list[View]:
        """The view of each event's entity in this role."""
        absent = self._scorer.absent[role]
        kind = self._kinds.get(self._plan.kinds[role])
        if kind is None:
            return [absent] * len(events)
        entities, ids = kind.young, events.entities[role]
        # Those that were not read in time are seen as if the cache were away.
        late = kind.unread.intersection(ids) if cache.answers else ()
        away = msgspec.structs.replace(cache, answers=False)
        places = {shard: f"{role}|{shard}" for shard in set(events.shards)}
        if not cache.answers:
            places = {shard: f"{place}|away" for shard, place in places.items()}
        views = []
        at_ms = now_ms
        for index, (id_, shard) in enumerate(zip(ids, events.shards, strict=True)):
            if id_ is None:
                views.append(absent)
                continue
            if times is not None:
                at_ms = times[index]
            entity, where = entities[id_], places[shard]
            if late and id_ in late:
                view = self._view((role, shard, f"{where}|away"), id_, entity, away, at_ms)
            elif (
                entity.view is not None
                and entity.where == where
                and entity.from_ms <= at_ms < entity.until_ms
            ):
                view = entity.view
            else:
                view = self._view((role, shard, where), id_, entity, cache, at_ms)
            views.append(view)
        return views

    def _view(
        self, where: tuple[str, str, str], id_: str, entity: _Entity, cache: Cache, at_ms: int
    ) -> View:
        """The entity's view in this role and shard: as it was made there, or made anew."""
        role, shard, name = where
        if entity.away is cache.answers:
            entity.forget_views()  # two views of each would take the memory of two
            entity.away = not cache.answers
        timed = entity.views.get(name)
        if timed is None or not timed[0] <= at_ms < timed[1]:
            if not cache.answers:
                self._hold(self._kinds[self._plan.kinds[role]], id_, entity)
            found = self._plan.features(role, id_, entity, shard, cache, at_ms)
            timed = (found.from_ms, found.until_ms, self._scorer.view(role, found.used))
            entity.views[name] = timed
        entity.where = name
        entity.from_ms, entity.until_ms, entity.view = timed
        return timed[2]

    def _drop_views(self) -> None:
        for kind in self._kinds.values():
            for id_ in kind:
                if (entity := kind.get(id_)) is not None:
                    entity.forget_views()
