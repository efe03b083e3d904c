"""One request and what was found of it among kept answers: what is left to run, and all joined."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

from enrichment.provider.contract import Description, Paid, Result, SampleRequest, SampleSet
from enrichment.provider.jobs import Done, problems_of
from enrichment.provider.kept_answers import (
    Entry,
    circuit_of,
    entry_of,
    is_sound,
    key_of,
    packed,
    unpacked,
)
from enrichment.provider.twins import Answers


def keys_of(described: Description, calibration_id: str, request: SampleRequest) -> list[str]:
    """Return the key of each problem's answer under a calibration."""
    return [
        key_of(described, calibration_id, request, circuit_of(problem))
        for problem in problems_of(request)
    ]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """A request with the entry of each of its problems, None where there is none.

    It waits as long as its job does, so nothing is in it that can be made again.
    """

    request: SampleRequest
    entries: tuple[Entry | None, ...]

    @classmethod
    def of(cls, request: SampleRequest, found: Sequence[bytes | None]) -> Self:
        """Return it with what was found, as far as that answers its problems."""
        entries = tuple(
            entry_of(raw, problem, circuit_of(problem))
            for raw, problem in zip(found, problems_of(request), strict=True)
        )
        return cls(request=request, entries=entries)

    @property
    def missing(self) -> tuple[int, ...]:
        """The positions of problems that have to be run."""
        return tuple(place for place, entry in enumerate(self.entries) if entry is None)

    def part(self, *, missing: bool) -> SampleRequest:
        """Return the request for what has to be run, or for the rest."""
        request = self.request
        places = [k for k, entry in enumerate(self.entries) if (entry is None) is missing]
        return replace(
            request,
            models=tuple(request.models[place] for place in places),
            seeds=tuple(request.seeds[place] for place in places),
        )

    def values(
        self, described: Description, result: Result, now_ms: int
    ) -> Mapping[str, bytes] | None:
        """Return the entries of what was run, by key; None where it is not all of it sound."""
        part = self.part(missing=True)
        pairs = list(zip(problems_of(part), result.sets, strict=True))
        if not all(is_sound(problem, answer) for problem, answer in pairs):
            return None
        keys = keys_of(described, result.calibration_id, part)
        values: dict[str, bytes] = {}
        for key, (problem, answer) in zip(keys, pairs, strict=True):
            paid = Paid(
                job_id=self.request.job_id,
                provider_job_id=result.provider_job_id,
                calibration_id=result.calibration_id,
                seed=problem.seed,
                at_ms=now_ms,
            )
            raw = packed(problem, answer, paid, result.cost / len(pairs))
            if raw is not None:
                values[key] = raw
        return values

    def joined(self, rest: Result | None, twins: Answers, submitted_s: float) -> Done:
        """Return the answer in the request's order: what was found, with its twins, and the rest.

        `rest` is what was run, None where nothing had to be.
        """
        run = iter(rest.sets if rest is not None else ())
        sets: list[SampleSet] = []
        cost = rest.cost if rest is not None else 0.0
        for problem, entry in zip(problems_of(self.request), self.entries, strict=True):
            if entry is None:
                sets.append(next(run))
                continue
            # Asked for again, after a crash perhaps: then this job has paid for it.
            own = entry.job_id == self.request.job_id
            cost += entry.cost if own else 0.0
            sets.append(unpacked(entry, problem, own=own))
        if rest is not None:
            return Done(
                sets=tuple(sets),
                twins=self._in_order(twins, rest.twins),
                started_s=submitted_s + rest.queue_ms / 1000,
                execution_ms=rest.execution_ms,
                provider_job_id=rest.provider_job_id,
                calibration_id=rest.calibration_id,
                cost=cost,
            )
        kept = [entry for entry in self.entries if entry is not None]
        return Done(
            sets=tuple(sets),
            twins=twins,
            started_s=0.0,
            execution_ms=0.0,
            provider_job_id=",".join(dict.fromkeys(entry.provider_job_id for entry in kept)),
            calibration_id=kept[0].calibration_id,
            cost=cost,
        )

    def _in_order(self, kept: Answers, run: Answers) -> Answers:
        """The twins of what was found and of what was run, in the request's order."""
        joined: dict[str, tuple[SampleSet, ...]] = {}
        for name, answers in run.items():
            found, rest = iter(kept.get(name, ())), iter(answers)
            joined[name] = tuple(next(rest if each is None else found) for each in self.entries)
        return joined
