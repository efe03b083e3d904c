"""The chain of providers that a job goes through, and how each has done by this worker lately.

A job keeps the chain that it was begun with: the provider that was chosen then, and the fallbacks
of the pipeline's file. A spot check has no fallback: what another provider says is no check.

A provider that fails again and again is left alone for a while, and one that cannot answer before
the deadline is not asked: in both cases the chain's next is, at once, and nothing is paid for an
answer that nobody would wait for. The last of a chain is always asked, but by spot checks, which
nobody misses.
"""

from collections.abc import Callable
from typing import Final

from enrichment.feature.breaker import Breaker
from enrichment.provider.contract import Description, FailureKind, Provider
from enrichment.records.job import Job
from enrichment.sample.pace import Lately

BROKEN_AFTER: Final = 5
"""Failures in a row that open a provider's breaker: three retries of one unlucky job do not."""

OPEN_MS: Final = 5_000
"""How long a broken provider is left alone at first: half of a usual deadline."""

OPEN_MS_MAX: Final = 60_000
"""And at most: one job a minute goes through its deadline for nothing, and a recovery is seen."""

PROBE_MS: Final = 10_000
"""A pace that says "too slow" is an old figure of ours: so often one job may renew it."""

COUNTED: Final = frozenset(
    {
        FailureKind.TRANSIENT,
        FailureKind.PERMISSION,
        FailureKind.ALGORITHM,
        FailureKind.UNKNOWN,
    }
)
"""Failures that say that the provider is not well. A quota is waited for, the rest is our doing."""


class _Standing:
    """How one provider has done."""

    def __init__(self) -> None:
        self.breaker = Breaker(failures_max=BROKEN_AFTER, open_ms=OPEN_MS, open_ms_max=OPEN_MS_MAX)
        # Milliseconds of execution for one shot of one problem.
        self.shot_ms = Lately()
        self.measured_ms = 0


class Chain:
    """Each job's provider and its fallbacks, in order, each once; and the providers by name."""

    def __init__(self, names: tuple[str, ...], provider: Callable[[str], Provider]) -> None:
        """`names` are the pipeline file's; `provider` opens one by name, the same each time."""
        self._first, *self._fallbacks = names
        self.provider = provider
        self._places: dict[str, int] = {}
        self._standings: dict[str, _Standing] = {}

    def names(self, job: Job) -> tuple[str, ...]:
        """The job's own chain."""
        chosen = job.chosen or self._first
        return (chosen,) if job.check_of else tuple(dict.fromkeys((chosen, *self._fallbacks)))

    def is_fallback(self, job: Job) -> bool:
        """Whether the job is at another provider than the one chosen for it."""
        return job.provider != self.names(job)[0]

    def following(self, job: Job) -> str | None:
        """The chain's next, or None. A provider that the chain does not name was its first."""
        names = self.names(job)
        position = names.index(job.provider) if job.provider in names else 0
        return names[position + 1] if position + 1 < len(names) else None

    def objection(self, name: str) -> str:
        """Why nobody can be asked by that name here (unknown, or not configured), or ""."""
        try:
            self.provider(name)
        except (ValueError, ImportError) as error:
            return str(error)
        return ""

    def described(self, name: str) -> Description:
        """What the provider says of itself now."""
        return self.provider(name).describe()

    def places(self, name: str) -> int:
        """How many requests it has room for at once; every job that waits asks, at every turn."""
        if name not in self._places:
            self._places[name] = self.described(name).jobs_max
        return self._places[name]

    def attaches(self, name: str) -> bool:
        """Whether a provider that is sent an id again starts nothing."""
        return self.described(name).idempotent_submission

    def unfit(self, job: Job, *, left_ms: int, now_ms: int) -> str:
        """Why the job should go to its chain's next instead, or "".

        An answer of "" is followed by `answered` or `failed`.
        """
        if self.following(job) is None and not job.check_of:
            return ""
        name, units = job.provider, job.shots * job.problems
        standing = self._standing(name)
        late = self._late(name, standing, units, left_ms, now_ms)
        if late:
            return late
        if not standing.breaker.allows(now_ms):
            return f"{name}: left alone, it has failed {BROKEN_AFTER} times in a row"
        return ""

    def shot_ms(self, name: str) -> float | None:
        """What one shot of one problem takes there, in milliseconds, as seen lately."""
        return self._standing(name).shot_ms.mean

    def answered(self, name: str, *, units: int, execution_ms: float, now_ms: int) -> None:
        """The provider has answered, and well."""
        standing = self._standing(name)
        standing.breaker.succeeded()
        standing.shot_ms.see(execution_ms / max(1, units))
        standing.measured_ms = now_ms

    def failed(self, name: str, kind: FailureKind, now_ms: int) -> None:
        """An attempt there has failed."""
        if kind in COUNTED:
            self._standing(name).breaker.failed(now_ms)

    def overdue(self, name: str, now_ms: int) -> None:
        """An attempt there was not answered by its deadline."""
        standing = self._standing(name)
        standing.breaker.failed(now_ms)
        standing.measured_ms = now_ms

    def _late(self, name: str, standing: _Standing, units: int, left_ms: int, now_ms: int) -> str:
        """Why no answer can be expected in time, or ""."""
        queue_ms = 1000 * self.described(name).queue_s
        run_ms = units * (standing.shot_ms.mean or 0.0)
        if queue_ms + run_ms <= left_ms:
            return ""
        recent = 0 <= now_ms - standing.measured_ms < PROBE_MS
        if queue_ms <= left_ms and not recent:
            standing.measured_ms = now_ms
            return ""
        return (
            f"{name}: not asked: its queue of {queue_ms:.0f} ms and a run of {run_ms:.0f} ms "
            f"would not end in {left_ms} ms"
        )

    def _standing(self, name: str) -> _Standing:
        return self._standings.setdefault(name, _Standing())
