"""The horizon on a topic, slice by slice, so that a restart need not read its digests again. Pure.

The topic is compacted. A slice that has changed is written anew under other keys, and then what
stood there of it is deleted: a crash in between leaves one of the two whole, and the newest that is
whole is loaded. What a slice holds it says itself (`closes`, `digests`): it may be newer than the
offset from which digests are read again, and what comes from before it is passed over.
"""

from collections.abc import Iterator, Mapping

import msgspec

from enrichment.records import Aggregates, Links, Tallies
from enrichment.records.digest import in_parts
from enrichment.records.horizon_slice import HorizonSlice
from enrichment.window.horizon import Horizon
from enrichment.window.slices import Held, Sliced, Through

PART_ENTRIES_MAX = 20_000  # of ties and tallies: some 1.5 MB of JSON

_Slice = tuple[str, str, int]  # shard, structure, start


class Snapshot:
    """What stands on the topic of one partition's shards."""

    def __init__(self, pipeline: str) -> None:
        self._pipeline = pipeline
        self._keys: dict[_Slice, set[str]] = {}
        self._found: dict[str, HorizonSlice] = {}

    def read(self, key: str, value: HorizonSlice | None) -> None:
        """Take in one record of the topic, in order; None deletes."""
        if value is None:
            self._found.pop(key, None)
        else:
            self._found[key] = value

    def load(self, horizons: Mapping[str, Horizon]) -> None:
        """Put what was read into the horizons of the shards, which are new."""
        now_ms: dict[str, int] = {}
        writings: dict[_Slice, dict[str, dict[int, HorizonSlice]]] = {}
        for key, value in self._found.items():
            slice_ = (value.shard, value.structure, value.start_ms)
            self._keys.setdefault(slice_, set()).add(key)
            writing = key.rpartition("|")[0]
            writings.setdefault(slice_, {}).setdefault(writing, {})[value.part] = value
        for (shard, name, start_ms), written in writings.items():
            structure = _named(horizons[shard], name)
            whole = [
                parts for parts in written.values() if 0 in parts and len(parts) == parts[0].parts
            ]
            if structure is None or not whole:
                continue
            newest = max(whole, key=lambda parts: parts[0].version)
            through = Through(newest[0].closes, newest[0].digests, newest[0].late)
            for part in newest.values():
                held = Held(part.ties, part.tallies, part.aggregates)
                structure.load(start_ms, held, through)
                now_ms[shard] = max(now_ms.get(shard, 0), part.horizon_ms)
        for shard, at_ms in now_ms.items():
            horizons[shard].advance(at_ms)
        self._found = {}

    @property
    def shards(self) -> set[str]:
        """Of which something was read."""
        return {value.shard for value in self._found.values()}

    def changes(
        self, shard: str, horizon: Horizon, through: Through, read: int
    ) -> Iterator[tuple[str, HorizonSlice | None]]:
        """What must be written, in order, of a horizon that has gone through so much.

        Digests before offset `read` have been read: no two writings have the same of these.
        """
        version = (through.closes, read)
        for structure in horizon.structures:
            for start_ms in sorted(structure.kept.changed):
                slice_ = (shard, structure.name, start_ms)
                before = self._keys.pop(slice_, set())
                now: set[str] = set()
                for part in self._parts(slice_, structure, horizon.now_ms, through, version):
                    key = f"{self._pipeline}|{shard}|{structure.name}|{start_ms}"
                    key += f"|{version[0]}.{version[1]}|{part.part}"
                    now.add(key)
                    yield key, part
                if now:
                    self._keys[slice_] = now
                for key in sorted(before - now):
                    yield key, None
            structure.kept.changed.clear()

    def _parts(  # one for each part of a record's head
        self,
        slice_: _Slice,
        structure: Sliced,
        now_ms: int,
        through: Through,
        version: tuple[int, int],
    ) -> Iterator[HorizonSlice]:
        """The slice in records that fit in a message; none if it has left."""
        shard, name, start_ms = slice_
        if (held := structure.entries(start_ms)) is None:
            return
        late = structure.kept.late(start_ms, through.digests)
        parts = list(_parted(held))
        for part, one in enumerate(parts):
            yield HorizonSlice(
                pipeline=self._pipeline,
                shard=shard,
                structure=name,
                start_ms=start_ms,
                horizon_ms=now_ms,
                closes=through.closes,
                digests=through.digests,
                version=version,
                late=late,
                part=part,
                parts=len(parts),
                ties=one.ties,
                tallies=one.tallies,
                aggregates=one.aggregates,
            )


def _parted(held: Held) -> Iterator[Held]:
    """What is held in parts that fit in a message; one at least."""
    types = {"ties": Links, "tallies": Tallies, "aggregates": Aggregates}
    named = (
        (field, kind, msgspec.structs.astuple(columns))
        for field in types
        for kind, columns in getattr(held, field).items()
    )
    for part in in_parts(named, PART_ENTRIES_MAX):
        yield Held(
            **{
                field: {kind: types[field](*columns) for kind, columns in by_kind.items()}
                for field, by_kind in part.items()
            }
        )


def _named(horizon: Horizon, name: str) -> Sliced | None:
    """The structure of that name; None if the pipeline file no longer has it."""
    return next((one for one in horizon.structures if one.name == name), None)
