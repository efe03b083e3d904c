"""Which jobs are set aside, and which are looked at with suspicion. Pure.

A job that ends its worker is found again by the next one, and ends that, too. All that was open
beside it is found again as well: a count of adoptions alone would set them all aside. So a job that
has been found a few times is a *suspect*, and suspects are taken up one at a time: the innocent end
as soon as it is their turn, and the count goes on for the one that was at work.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from enrichment.provider.contract import FailureKind
from enrichment.records.job import Job

SUSPECT_AT: Final = 3
"""Adoptions: two workers that go are a rollout, which a job may well live through."""

ADOPTIONS_MAX: Final = 8
"""Adoptions: five times at work with no other suspect beside it, and never an end."""

LASTING: Final = frozenset({FailureKind.VALIDATION, FailureKind.ALGORITHM})
"""What lies in the job and not in a provider's state: it fails tomorrow as it does today."""


def suspicious(job: Job) -> bool:
    """Whether the job is to be taken up with no other suspect beside it."""
    return job.adoptions >= SUSPECT_AT


def worn_out(job: Job) -> bool:
    """Whether whoever finds the job unfinished once more should leave it.

    A spot check that is a suspect is left at once: what somebody waits for is tried meanwhile.
    """
    return job.adoptions >= (SUSPECT_AT if job.check_of else ADOPTIONS_MAX)


def hopeless(chain: Sequence[str], failures: Mapping[str, FailureKind]) -> bool:
    """Whether each provider of the chain has failed at the job in a way that never passes.

    `failures` are the last ones by provider; one that is not there may have been an outage.
    """
    return all(failures.get(provider) in LASTING for provider in chain)


_BLANKS: Final = (
    (re.compile(r"(['\"]).*?\1"), "'…'"),
    # Ids: what has a bar in it, as jobs' and cases' do; then UUIDs and other long hexadecimals.
    (re.compile(r"[^\s,;]*\|[^\s,;]*"), "…"),
    (re.compile(r"\b(?=[0-9a-f-]*\d)[0-9a-f]{6,}(?:-[0-9a-f]+)*\b"), "…"),
    (re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?"), "#"),
)


def shape_of(detail: str) -> str:
    """A failure's text with ids and numbers blanked: equal for two that failed the same way.

    Details begin with provider and kind (`qsim: transient: …`), which stay.
    """
    for pattern, blank in _BLANKS:
        detail = pattern.sub(blank, detail)
    return detail
