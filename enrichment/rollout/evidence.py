"""Evidence: what one experiment has shown of each path, on the same events, as of one look.

It is a record that can be kept, exported and asked again: everything that the gate needs is in it.
"""

from typing import Final

import msgspec

NONE: Final = "heuristic"
"""The path without ring features, against which every other must be superior."""


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure and its interval; NaN is written as null and read as None: not known."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What the evidence rests on."""

    # Decided within the experiment, and of them: at least `matured_ms` ago, and not declined; bad
    # ones among those; declined at least as long ago, so that nobody will ever know; never declined
    # on a ring path's word.
    events: int
    matured: int
    bad: int
    unknowable: int
    untreated: int
    # Entities that were resampled: rings of tied bad accounts, and single accounts.
    clusters: int
    outcomes: int
    # Outcomes about events that no record of the experiment is of.
    unmatched: int = 0
    # Of the unknowable: those for which no untreated event stands. The heuristic alone declines
    # them, or they are above the limit, or none is left untreated: no figure is of them.
    unrepresented: int = 0
    # Of another pipeline file or score table, or of another experiment, since this one began.
    left_out: int = 0


class PathFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What one path alone would have made of the events.

    By name: `average_precision`, `precision_at_k`, `caught`, `reviews`, `cost_per_caught`,
    `accepted_cases` (of its cases those that were confirmed, among those that were decided).
    """

    figures: dict[str, Figure]
    # Of the events: where the path had an estimate of its own.
    known_share: float


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """What the jobs of the experiment show, as means over jobs, by figure.

    `energy_gap` (see `Guard.energy_gap_max`), `membership_gap`, `histogram_distance`,
    `random_membership_gap`, `repeat_deviation`, `failed_share`, `cost_per_job`, `latency_p50_ms`,
    `latency_p99_ms`; of spot checks `check_energy_gap`, `check_membership_gap`.
    """

    jobs: int
    checks: int
    figures: dict[str, Figure]


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """All of one look. `evidence_id` is a hash of the rest: equal evidence has equal ids.

    Two figures are shown and not in the hash, since they are no facts of the log: `accepted_cases`
    (cases are kept as they are last, and what they were at a look is not known any more) and
    `repeat_deviation` (drawn anew, by a machine and a version of the libraries).
    """

    evidence_id: str
    pipeline: str
    experiment_id: str
    pipeline_version: str
    score_version: str
    since_ms: int
    # As it was known by then; later outcomes and corrections are not in it.
    until_ms: int
    # Which of the gate's looks this is, from 1; 0 in between, which anybody may look at and the
    # gate never counts. `level` is each interval's.
    look: int
    looks: tuple[int, ...]
    level: float
    counts: Counts
    # Path -> figures.
    paths: dict[str, PathFigures]
    # "quantum-heuristic", "classical-heuristic", "quantum-classical" -> difference of average
    # precision on the same resamples.
    differences: dict[str, Figure]
    # Verdict -> share of the events.
    verdict_shares: dict[str, float]
    sampling: Sampling
    # Median over events from publication to decision, the same whatever path serves.
    hot_path_p50_ms: Figure
    hot_path_p99_ms: Figure
