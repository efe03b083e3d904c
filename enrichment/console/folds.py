"""What the console remembers of compacted topics: the newest record of each key, bounded. Pure.

Each fold is one `stream.follow.Follower`'s: its state is made anew when it is asked for after a
change, and never changed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from enrichment.console.limits import CASES_KEPT, CONTROLS_KEPT, JOBS_KEPT
from enrichment.records import Case, Control
from enrichment.rollout.control import EVERY, MalformedControlError, control_key, parsed

Record = tuple[bytes | None, bytes | None]

ENDED: Final = frozenset({"succeeded", "failed", "fallback_complete"})
"""States from which a job goes on only by an operator's order."""


class JobRow(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a ledger entry: all but the payload, which is not even parsed."""

    job_id: str
    pipeline: str
    shard: str
    state: str
    attempt: int
    created_ms: int
    updated_ms: int
    deadline_ms: int
    provider: str = ""
    provider_job_id: str = ""
    problems: int = 0
    shots: int = 0
    cost_micro: int = 0
    detail: str = ""
    experiment_id: str = ""
    correlation_id: str = ""
    quarantined: bool = False
    published: bool = False
    check_of: str = ""
    chosen: str = ""
    content_hash: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Jobs:
    """Jobs by id, the last changed last. `dropped` were too many to keep."""

    rows: Mapping[str, JobRow] = field(default_factory=dict)
    dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cases:
    """Cases by id, the last changed last. `dropped` were too many to keep."""

    rows: Mapping[str, Case] = field(default_factory=dict)
    dropped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Controls:
    """What stands on the control topic for one pipeline and for all, and what is wrong with it."""

    rows: Mapping[str, Control] = field(default_factory=dict)
    malformed: Mapping[str, str] = field(default_factory=dict)


class JobsFold:
    """The ledger's entries of one pipeline."""

    def __init__(self, pipeline: str, kept: int = JOBS_KEPT) -> None:
        self._prefix, self._kept = f"{pipeline}|".encode(), kept
        self._decode = msgspec.json.Decoder(JobRow).decode
        self._rows: dict[str, JobRow] = {}
        self._dropped = 0
        self._state: Jobs | None = None

    @property
    def state(self) -> Jobs:
        """What is there now."""
        if self._state is None:
            self._state = Jobs(rows=dict(self._rows), dropped=self._dropped)
        return self._state

    def take(self, records: Iterable[Record]) -> list[str]:
        """Fold in records by key and value. Returns what must be said about them."""
        said = []
        for key, value in records:
            if key is None or not key.startswith(self._prefix):
                continue
            job_id = key.decode(errors="replace")
            self._rows.pop(job_id, None)
            self._state = None
            if value is not None:
                try:
                    self._rows[job_id] = self._decode(value)
                except msgspec.DecodeError as error:
                    said.append(f"not a job, left out: {job_id}: {error}")
        while len(self._rows) > self._kept:
            self._drop()
        return said

    def _drop(self) -> None:
        """Forget the one changed least lately; an open one only where all are."""
        ended = (job_id for job_id, row in self._rows.items() if row.state in ENDED)
        del self._rows[next(ended, next(iter(self._rows)))]
        self._dropped += 1


class CasesFold:
    """The cases of one pipeline."""

    def __init__(self, pipeline: str, kept: int = CASES_KEPT) -> None:
        self._prefix, self._kept = f"{pipeline}|".encode(), kept
        self._decode = msgspec.json.Decoder(Case).decode
        self._rows: dict[str, Case] = {}
        self._dropped = 0
        self._state: Cases | None = None

    @property
    def state(self) -> Cases:
        """What is there now."""
        if self._state is None:
            self._state = Cases(rows=dict(self._rows), dropped=self._dropped)
        return self._state

    def take(self, records: Iterable[Record]) -> list[str]:
        """Fold in records by key and value. Returns what must be said about them."""
        said = []
        for key, value in records:
            if key is None or not key.startswith(self._prefix):
                continue
            case_id = key[len(self._prefix) :].decode(errors="replace")
            self._rows.pop(case_id, None)
            self._state = None
            if value is not None:
                try:
                    self._rows[case_id] = self._decode(value)
                except msgspec.DecodeError as error:
                    said.append(f"not a case, left out: {case_id}: {error}")
        while len(self._rows) > self._kept:
            del self._rows[next(iter(self._rows))]
            self._dropped += 1
        return said


class ControlsFold:
    """The control records of one pipeline, and of all."""

    def __init__(self, pipeline: str, kept: int = CONTROLS_KEPT) -> None:
        self._prefixes = tuple(control_key(name, "").encode() for name in (pipeline, EVERY))
        self._kept = kept
        self._rows: dict[str, Control] = {}
        self._malformed: dict[str, str] = {}
        self._state: Controls | None = None

    @property
    def state(self) -> Controls:
        """What is there now."""
        if self._state is None:
            self._state = Controls(rows=dict(self._rows), malformed=dict(self._malformed))
        return self._state

    def take(self, records: Iterable[Record]) -> list[str]:
        """Fold in records by key and value. Returns what must be said about them."""
        said = []
        for key, value in records:
            if key is None or not key.startswith(self._prefixes):
                continue
            name = key.decode(errors="replace")
            self._rows.pop(name, None)
            self._malformed.pop(name, None)
            self._state = None
            if value is None:
                continue
            if len(self._rows) + len(self._malformed) >= self._kept:
                said.append(f"more than {self._kept} control records, left out: {name}")
                continue
            try:
                self._rows[name] = parsed(key, value)
            except MalformedControlError as error:
                self._malformed[name] = str(error)
        return said
