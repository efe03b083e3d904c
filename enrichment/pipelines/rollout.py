"""`[rollout]`: how a pipeline lets a path in, and by what it is taken out again.

All of it is fixed beforehand, in the file: a margin that is chosen once the figures are known is no
margin.
"""

from typing import Annotated, Final

from msgspec import Meta

from enrichment.pipelines.table import Table

Share = Annotated[float, Meta(ge=0, le=1)]

LOOKS_MAX: Final = 10
"""Each look costs confidence: with ten, each interval is at 99.5 % where 95 % was asked for."""

Looks = Annotated[tuple[Annotated[int, Meta(gt=0)], ...], Meta(min_length=1, max_length=LOOKS_MAX)]


class Gate(Table, frozen=True):
    """`[rollout.gate]`: what a path must show to be let in further."""

    # By how much average precision may be lower than the best classical twin's.
    margin: Annotated[float, Meta(ge=0, lt=1)] = 0.02
    # Of all looks together: see `looks`.
    confidence: Annotated[float, Meta(gt=0.5, lt=1)] = 0.95
    # At so many bad events, no earlier and not in between, evidence counts for the gate.
    looks: Looks = (100, 200, 400)
    # An event of which nothing became known for so long counts as good, and not before.
    matured_ms: Annotated[int, Meta(gt=0)] = 2_592_000_000
    # How many events a team can look at in a day: precision at k.
    k: Annotated[int, Meta(gt=0)] = 100
    # From a window's close to its features, at the 99th percentile.
    latency_p99_ms_max: Annotated[float, Meta(gt=0)] = 10_000.0
    # Of jobs that ended without an answer of the provider that was asked.
    failed_share_max: Share = 0.05
    # For each bad event that the path caught and the heuristic did not, in the bill's currency.
    cost_per_caught_max: Annotated[float, Meta(ge=0)] = 1.0
    # So many jobs of the evidence are run again, and as many records scored again: all must agree.
    reproduced_jobs: Annotated[int, Meta(ge=1, le=100)] = 5
    # Of the difference of memberships when a problem is sampled again with another seed.
    repeat_deviation_max: Share = 0.1
    # So many bad events must have been seen in the canary's share before it goes live.
    canary_bad_min: Annotated[int, Meta(ge=0)] = 20


class Guard(Table, frozen=True):
    """`[rollout.guard]`: at what a path that was let in is taken out at once, without being asked.

    The first five are means over the last `jobs` jobs that the path's provider was asked for.
    """

    jobs: Annotated[int, Meta(ge=3, le=1_000)] = 20
    # (mean energy of the samples - the twin's) over the spread of random ones: 0 is as good as the
    # twin, 1 as bad as random strings.
    energy_gap_max: Annotated[float, Meta(gt=0)] = 0.6
    # Mean |difference of membership| from the classical twin: random strings have .32, the virtual
    # device .08, with eight times its noise .21 (measured).
    membership_gap_max: Share = 0.2
    failed_share_max: Share = 0.25
    # In the bill's currency.
    cost_per_job_max: Annotated[float, Meta(ge=0)] = 1.0
    # How far average precision may fall below the heuristic's, at the interval's upper end, before
    # outcomes take the path out.
    loss_max: Share = 0.0


class RolloutDefinition(Table, frozen=True):
    """`[rollout]`: shares, and the rules of the gate and the guard."""

    # Of the accounts, where a canary is not told another.
    canary_share: Share = 0.05
    # Of the events, chosen by a stable hash: never declined on a ring path's word, so that it
    # becomes known what declined ones turn out to be. 0: none, and declined events teach nothing.
    untreated_share: Share = 0.0
    # In the stream's own unit: a larger event is always treated. This bounds what it may cost, and
    # has to be said where there is a share; a stream without amounts has nothing that it bounds.
    untreated_amount_max: Annotated[float, Meta(ge=0)] = 0.0
    # What one review costs a team, in the bill's currency: part of the cost per caught fraud.
    review_cost: Annotated[float, Meta(ge=0)] = 0.0
    gate: Gate = Gate()
    guard: Guard = Guard()
