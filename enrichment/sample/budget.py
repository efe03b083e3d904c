"""What sampling may spend: charges, claims and limits, and how a worker asks for money.

Why no overrun is possible, whatever happens to Redis, to workers and to their order:

1. The ledger has an attempt's charge, with the most that it may cost, before the counter is asked;
   the counter is asked before anything is submitted. So whatever was ever granted is in the ledger.
2. The counter (`sample/counter.py`) holds every claim it knows of with its amount, and grants one
   only if all that it knows, this one included, is within every limit. A claim that it knows goes
   down only when it is settled, and it is settled only once the ledger says so (which the former
   owner of a partition, being fenced, cannot make it say). A refusal takes nothing out: whether an
   earlier ask for the same claim was granted, and to whom, the counter may have forgotten.
3. A counter that is missing grants nothing. It is missing when its key is gone, and when the
   server is not the run that it was built on: a restart or a failover may have lost the last
   grants, and a counter that forgot some is worse than none.
4. It is rebuilt from the whole ledger. A token is put down first, and only while the counter is
   missing; then the ledger is read to its end; then the counter is written, but only if that token
   is still there, in the same run. Whatever removes the counter removes the tokens with it (they
   are in one key), and so does whoever writes it. So between token and writing there was no
   counter, nothing was granted, and every claim granted before that had been in the ledger before
   the reading began. All claims of the ledger count, granted or not: what is known always includes
   what was granted, and so the sum of what was granted never passes a limit.

What has been counted too high (a claim whose worker died between the ledger and the counter) comes
down when the ledger is read again, which happens before anything is refused, once a minute.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol

from enrichment.records.job import Charge, Job

MICRO: Final = 1_000_000
"""Amounts are integers: millionths of the currency in which the providers' prices are given."""

DAY_MS: Final = 86_400_000

DAYS_ASKED: Final = 1
"""How many days a charge's day may differ from the server's: over midnight, and no further."""

CHARGE_MAX_MICRO: Final = 10**12
"""A million a claim. The counter adds in 64 bits and compares in doubles, exact up to 9 * 10**15:
no nine thousand claims come near that, and far below it every limit is passed."""

LIMIT_MAX_MICRO: Final = 10**15
"""The largest limit that a pipeline's file may give: a milliard."""

ALL: Final = "all"


class BudgetAwayError(Exception):
    """Neither yes nor no: the counter or the ledger does not answer. Said in one line."""


class Grant(Enum):
    """What has become of a worker's ask."""

    GRANTED = "granted"
    REFUSED = "refused"
    # Nobody knows yet: ask again.
    WAITING = "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A grant, a refusal or neither, and why, for people."""

    grant: Grant
    detail: str = ""


GRANTED: Final = Answer(grant=Grant.GRANTED)


class Budget(Protocol):
    """What a worker asks before it submits what costs money. No method waits for anything.

    What the worker promises, for the argument above to hold:

    - it asks only for a charge that the committed ledger has, and submits only what was granted;
    - it settles only a charge that the committed ledger has settled;
    - it lets the ledger settle a charge at nothing only where the provider says that it never took
      the attempt, or where this very worker began the attempt and was never granted it. An attempt
      that was adopted from another worker may have been submitted: its charge stays as it is.
    """

    def ask(self, charge_id: str, charge: Charge, pipeline: str) -> Answer:
        """Return the decision, or WAITING: then the same ask is to be made again, at every tick.

        A decision is told once. An ask that is not repeated for a while is forgotten. What costs
        nothing is granted at once. A charge that was granted may be asked for again.
        """
        ...

    def settle(self, charge_id: str, charge: Charge, pipeline: str) -> None:
        """Take note of what a charge did cost, or that it cost nothing. Harmless to repeat.

        Of charges that were more than nothing when they were asked for: what is free is never
        settled, in the ledger neither, and so what was settled at nothing is known for what it is.
        """
        ...

    def left(self, pipeline: str, provider: str, day: int) -> int | None:
        """Millionths left at the tightest limit when last seen; None where that is not known.

        Never below nought. It may be gone by the time that it is asked for.
        """
        ...

    def close(self) -> None:
        """Give up what has not been decided."""
        ...


def day_of(at_ms: int) -> int:
    """The UTC day, counted since 1970."""
    return at_ms // DAY_MS


def charge_id(job_id: str, attempt: int) -> str:
    """The name of one attempt's charge, over all pipelines and workers."""
    return f"{job_id}|{attempt}"


def micro_up(amount: float) -> int:
    """An amount of currency in millionths, rounded up: of what may have to be paid."""
    return math.ceil(round(amount * MICRO, 3))


def shown(micro: int) -> str:
    """An amount for people, in currency."""
    return f"{micro / MICRO:,.6f}".rstrip("0").rstrip(".")


def is_needed(job: Job, today: int) -> bool:
    """Whether the ledger must still hold the job's entry, for what it says of money.

    A counter may be asked about, and be rebuilt for, yesterday, today and tomorrow.
    """
    return any(
        (charge.micro or charge.settled) and charge.day >= today - DAYS_ASKED
        for charge in job.charges
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One charge as the counter has it: whose, at which provider, how much, and whether for good.

    Once settled it never changes again.
    """

    pipeline: str
    provider: str
    micro: int
    settled: bool = False

    @classmethod
    def of(cls, charge: Charge, pipeline: str) -> "Claim":
        """The claim that a charge makes."""
        return cls(
            pipeline=pipeline,
            provider=charge.provider,
            micro=charge.micro,
            settled=charge.settled,
        )

    @property
    def scopes(self) -> tuple[str, str, str]:
        """The sums that it counts in."""
        return scopes(self.pipeline, self.provider)


def scopes(pipeline: str, provider: str) -> tuple[str, str, str]:
    """All, the pipeline, the provider: the order in which limits are told, too."""
    return (ALL, f"pipeline:{pipeline}", f"provider:{provider}")


def totals(claims: Iterable[Claim]) -> dict[str, int]:
    """Scope -> millionths, over all of these."""
    found: dict[str, int] = {}
    for claim in claims:
        for scope in claim.scopes:
            found[scope] = found.get(scope, 0) + claim.micro
    return found


Limits = tuple[int | None, int | None, int | None]
"""What the sums of `scopes` may come to, in their order; None where nobody has set a limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What may be spent in a UTC day, in millionths: by all, by pipeline, at each provider.

    A pipeline that is not named, or may spend nothing, uses what is free. For the other two, no
    limit is no limit.
    """

    all: int | None = None
    pipelines: Mapping[str, int] = field(default_factory=dict)
    providers: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        pipelines: Mapping[str, float],
        *,
        day: float | None = None,
        providers: Mapping[str, float] | None = None,
    ) -> "Allowance":
        """The same from amounts in currency, rounded down to millionths."""
        return cls(
            all=None if day is None else _limit(day),
            pipelines={name: _limit(amount) for name, amount in pipelines.items()},
            providers={name: _limit(amount) for name, amount in (providers or {}).items()},
        )

    def limits(self, pipeline: str, provider: str) -> Limits:
        """The limits of the scopes that such a charge counts in."""
        return (self.all, self.pipelines.get(pipeline, 0), self.providers.get(provider))

    def objection(self, charge: Charge, pipeline: str) -> str:
        """Why such a charge can never be granted; "" where the counter is to be asked."""
        if not self.pipelines.get(pipeline, 0):
            return (
                f"budget: pipeline {pipeline} may spend nothing and {charge.provider} costs money: "
                "say in its file, under [budget], what it may spend in a `day`"
            )
        if not 0 <= charge.micro <= CHARGE_MAX_MICRO:
            return f"budget: {charge.micro} millionths is no amount for one attempt"
        return ""


def room(sums: Iterable[int], limits: Limits) -> int:
    """Millionths left at the tightest of the limits, below nought where one is passed."""
    return min(
        (limit - total for total, limit in zip(sums, limits, strict=True) if limit is not None),
        default=LIMIT_MAX_MICRO,
    )


def refusal(claim: Claim, sums: Iterable[int], limits: Limits) -> str:
    """What a refused claim is told: which limit it does not fit under."""
    for scope, total, limit in zip(claim.scopes, sums, limits, strict=True):
        if limit is not None and total + claim.micro > limit:
            return (
                f"budget: {shown(claim.micro)} more do not fit: {scope} has spent or reserved "
                f"{shown(total)} of {shown(limit)} for the day"
            )
    return "budget: it does not fit"


def _limit(amount: float) -> int:
    """An amount of currency in millionths, rounded down: of what may be spent."""
    return min(math.floor(round(amount * MICRO, 3)), LIMIT_MAX_MICRO)


class NoMoney:
    """A Budget of nothing: what is free is granted, and nothing else."""

    def ask(self, charge_id: str, charge: Charge, pipeline: str) -> Answer:  # noqa: ARG002  # a Budget's
        """See Budget."""
        if not charge.micro:
            return GRANTED
        return Answer(grant=Grant.REFUSED, detail=f"budget: {pipeline} may spend nothing here")

    def settle(self, charge_id: str, charge: Charge, pipeline: str) -> None:
        """See Budget."""

    def left(self, pipeline: str, provider: str, day: int) -> int | None:  # noqa: ARG002  # a Budget's
        """See Budget."""
        return 0

    def close(self) -> None:
        """See Budget."""
