"""On which terms an attempt is made: how many shots, and what it may cost.

They are decided when the attempt is, and are in the ledger before it is submitted: whoever takes
the job over submits the very same, and whoever adds up the ledger knows the money that is out.
"""

from collections.abc import Mapping

import msgspec

from enrichment.pipelines import Pipeline
from enrichment.provider.contract import SampleSet
from enrichment.records.job import Charge, Job
from enrichment.sample.budget import MICRO, Answer, Budget, charge_id, day_of, micro_up
from enrichment.sample.chain import Chain
from enrichment.sample.estimate import QUANTUM
from enrichment.sample.pace import Lately
from enrichment.sample.shots import Means, shots_for


class Terms:
    """What attempts of one pipeline are given, from what has been seen lately, and their money."""

    def __init__(self, pipeline: Pipeline, chain: Chain, budget: Budget) -> None:
        self._sampling = pipeline.sampling
        self._chain = chain
        self._budget = budget
        self._width = Lately()
        self._width_shots = 0

    def applied(self, job: Job, *, left_ms: int, now_ms: int) -> Job:
        """The job with the terms of its present attempt, of which `left_ms` are left."""
        described = self._chain.described(job.provider)
        shot_ms = self._chain.shot_ms(job.provider)
        day, price = day_of(now_ms), described.price_per_shot * job.problems
        shots = shots_for(
            self._sampling,
            Means(
                left_ms=left_ms - 1000 * described.queue_s,
                shot_ms=None if shot_ms is None else shot_ms * job.problems,
                shot_micro=price * MICRO,
                left_micro=self._budget.left(job.pipeline, job.provider, day) if price else None,
                width=self._width.mean,
                width_shots=self._width_shots,
            ),
        )
        charge = Charge(
            attempt=job.attempt, provider=job.provider, day=day, micro=micro_up(shots * price)
        )
        return msgspec.structs.replace(job, shots=shots, charges=(*job.charges, charge))

    def charged(self, job: Job, now_ms: int) -> Job:
        """The job as it is, with a charge where its entry is older than charges are."""
        if charge_of(job, job.attempt) is not None:
            return job
        price = self._chain.described(job.provider).price_per_shot * job.problems
        charge = Charge(
            attempt=job.attempt,
            provider=job.provider,
            day=day_of(now_ms),
            micro=micro_up(job.shots * price),
        )
        return msgspec.structs.replace(job, charges=(*job.charges, charge))

    def ask(self, job: Job) -> Answer:
        """Whether the present attempt may be submitted, for its money's sake."""
        charge = charge_of(job, job.attempt)
        if charge is None:
            raise ValueError(f"{job.job_id}: attempt {job.attempt} has no charge")
        return self._budget.ask(charge_id(job.job_id, job.attempt), charge, job.pipeline)

    def committed(self, job: Job) -> None:
        """The ledger has this entry: the budget is told what it has settled."""
        for charge in job.charges:
            if charge.settled:
                self._budget.settle(charge_id(job.job_id, charge.attempt), charge, job.pipeline)

    def seen(self, answers: Mapping[str, tuple[SampleSet, ...]], shots: int) -> None:
        """Take in how wide an answer's intervals are; only the circuit's have a wanted width."""
        widths = [
            float((one.summary.high - one.summary.low).mean()) for one in answers.get(QUANTUM, ())
        ]
        if widths:
            self._width.see(sum(widths) / len(widths))
            self._width_shots = shots


def charge_of(job: Job, attempt: int) -> Charge | None:
    """What an attempt may cost, or did."""
    return next((charge for charge in job.charges if charge.attempt == attempt), None)


def settled(job: Job, attempt: int, micro: int | None = None) -> Job:
    """The job with the attempt's charge settled, at what it may have cost where nothing is said.

    What was free, or is settled, stays as it is.
    """
    found = charge_of(job, attempt)
    if found is None or found.settled or not found.micro:
        return job
    paid = msgspec.structs.replace(
        found, settled=True, micro=found.micro if micro is None else micro
    )
    charges = tuple(paid if charge is found else charge for charge in job.charges)
    return msgspec.structs.replace(
        job,
        charges=charges,
        cost_micro=sum(charge.micro for charge in charges if charge.settled),
    )
