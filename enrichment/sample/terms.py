"""On which terms an attempt is made: how many shots, and what it may cost.

They are decided when the attempt is, and are in the ledger before it is submitted: whoever takes
the job over submits the very same, and whoever adds up the ledger knows the money that is out.
"""

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from enrichment.pipelines import Pipeline
from enrichment.provider.contract import SampleSet
from enrichment.records.job import Charge, Job
from enrichment.sample.chain import Chain
from enrichment.sample.estimate import QUANTUM
from enrichment.sample.pace import Lately
from enrichment.sample.shots import Means, shots_for

MICRO: Final = 1_000_000
"""Millionths in one unit of the currency."""

DAY_MS: Final = 86_400_000


class Terms:
    """What attempts of one pipeline are given, from what has been seen lately."""

    def __init__(self, pipeline: Pipeline, chain: Chain) -> None:
        self._sampling = pipeline.sampling
        self._chain = chain
        self._width = Lately()
        self._width_shots = 0

    def applied(self, job: Job, *, left_ms: int, now_ms: int) -> Job:
        """The job with the terms of its present attempt, of which `left_ms` are left."""
        described = self._chain.described(job.provider)
        shot_ms = self._chain.shot_ms(job.provider)
        shot_micro = described.price_per_shot * MICRO * job.problems
        shots = shots_for(
            self._sampling,
            Means(
                left_ms=left_ms - 1000 * described.queue_s,
                shot_ms=None if shot_ms is None else shot_ms * job.problems,
                shot_micro=shot_micro,
                width=self._width.mean,
                width_shots=self._width_shots,
            ),
        )
        charge = Charge(
            attempt=job.attempt,
            provider=job.provider,
            day=now_ms // DAY_MS,
            micro=math.ceil(shots * shot_micro),
        )
        return msgspec.structs.replace(job, shots=shots, charges=(*job.charges, charge))

    def seen(self, answers: Mapping[str, tuple[SampleSet, ...]], shots: int) -> None:
        """Take in how wide an answer's intervals are; only the circuit's have a wanted width."""
        widths = [
            float((one.summary.high - one.summary.low).mean()) for one in answers.get(QUANTUM, ())
        ]
        if widths:
            self._width.see(sum(widths) / len(widths))
            self._width_shots = shots
