"""What the API's answers and bodies look like: their schemas are in the OpenAPI document."""

from enum import Enum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from enrichment.console.answers import Shares
from enrichment.console.board import CaseRow
from enrichment.console.folds import JobRow
from enrichment.console.limits import (
    ID_CHARACTERS_MAX,
    NAME_CHARACTERS_MAX,
    PRINTABLE,
    REASON_CHARACTERS_MAX,
    TOKEN_CHARACTERS_MIN,
)
from enrichment.records import Case, JobEvent, Source, Verdict

Id = Annotated[str, Meta(min_length=1, max_length=ID_CHARACTERS_MAX, pattern=PRINTABLE)]
Name = Annotated[str, Meta(min_length=1, max_length=NAME_CHARACTERS_MAX, pattern=PRINTABLE)]
Why = Annotated[str, Meta(min_length=1, max_length=REASON_CHARACTERS_MAX, pattern=PRINTABLE)]
Note = Annotated[str, Meta(max_length=REASON_CHARACTERS_MAX, pattern=PRINTABLE)]
Token = Annotated[str, Meta(min_length=TOKEN_CHARACTERS_MIN, max_length=ID_CHARACTERS_MAX)]


class GroupShown(msgspec.Struct, frozen=True, kw_only=True):
    """One group of an entity's features, with its verdict as of now."""

    group: str
    verdict: Verdict
    usable: bool
    age_ms: int
    version: int
    subgraph: str
    event_time_ms: int
    computed_at_ms: int
    values: dict[str, float]
    estimates: dict[str, dict[str, float]]
    source: Source | None


class FeaturesShown(msgspec.Struct, frozen=True, kw_only=True):
    """One entity's features."""

    pipeline: str
    entity: str
    id: str
    groups: tuple[GroupShown, ...]


class JobsListed(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs, those changed last first. `counts` are of all that are kept; `found` fit the filter."""

    counts: dict[str, int]
    found: int
    dropped: int
    jobs: tuple[JobRow, ...]


class JobShown(msgspec.Struct, frozen=True, kw_only=True):
    """One job and its transitions."""

    job: JobRow
    events: tuple[JobEvent, ...]


class CallTaken(msgspec.Struct, frozen=True, kw_only=True):
    """A call that is on its topic: the job that it becomes, found at the answer's `Location`."""

    job_id: str
    state: str


class JobStanding(msgspec.Struct, frozen=True, kw_only=True):
    """A job whose result is not there yet: where it stands."""

    job_id: str
    state: str


class CasesListed(msgspec.Struct, frozen=True, kw_only=True):
    """Cases to work, open ones with the largest amount at risk first."""

    counts: dict[str, int]
    found: int
    dropped: int
    cases: tuple[CaseRow, ...]


class CaseShown(msgspec.Struct, frozen=True, kw_only=True):
    """One case. `taken_in_by` is the case that it went into, where that was asked for."""

    case: Case
    amount_scale: int
    taken_in_by: str = ""


class FlowShown(msgspec.Struct, frozen=True, kw_only=True):
    """Rates and lags, and a sample of the answers of the last minute."""

    flow: dict[str, Any]
    answers: Shares
    trouble: dict[str, str]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """A probe's answer. `trouble` is by name of what cannot be read."""

    ok: bool
    trouble: dict[str, str] = {}


class SessionShown(msgspec.Struct, frozen=True, kw_only=True):
    """Whether anybody may act here, whether this page may, and the word its actions repeat."""

    can_act: bool
    signed_in: bool
    csrf: str = ""


class SignIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The token, in exchange for a session."""

    token: Token


class OrderKind(Enum):
    """What may be ordered of a job."""

    RETRY = "retry"
    CANCEL = "cancel"


class GiveOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An order about one job, by whom and why."""

    job_id: Id
    order: OrderKind
    by: Name
    reason: Why


class VerdictKind(Enum):
    """What may be said of a case."""

    CONFIRM = "confirm"
    DISMISS = "dismiss"


class GiveVerdict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A verdict on one case; `again` replaces one that was given before."""

    case_id: Id
    verdict: VerdictKind
    by: Name
    note: Note = ""
    again: bool = False


class CapName(Enum):
    """The highest path that may go on serving once the switch is pulled."""

    HEURISTIC = "heuristic"
    CLASSICAL = "classical"


class PullSwitch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The kill switch: nothing above `serve` serves any more."""

    by: Name
    reason: Why
    serve: CapName = CapName.HEURISTIC


class Restore(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The kill switch lifted."""

    by: Name
    reason: Why
