"""`ring_probability`: what a membership has been worth, fitted on outcomes and judged elsewhere.

Isotonic regression of the outcome on the surplus (`enrichment.pipelines.probability`), one map for
each entity kind, its steps joined until each has seen enough bad events. Monotone by construction.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from enrichment.lab.calibration import Bin, Brier, calibration_bins
from enrichment.lab.fit import JUDGED_POSITIVES_MIN, refuse_overlap
from enrichment.lab.groups import groups_of
from enrichment.lab.recorded import Recording, RecordingError
from enrichment.pipelines import Pipeline
from enrichment.pipelines.probability import Sampled, Steps
from enrichment.rollout.bootstrap import Bootstrap, Interval, bootstrap_intervals
from enrichment.rollout.metrics import Bools, Difference, Floats, Ints

METHOD: Final = "isotonic regression"
# With fewer a step's share follows single events (Peduzzi et al., 1996, of a weight).
STEP_POSITIVES_MIN: Final = 10
FIT_POSITIVES_MIN: Final = 20  # two steps: with one there is no map
SURPLUS_GRAIN: Final = 1e-4  # thresholds are rounded down to it, to be read by people
DIGITS: Final = 4
SHARE_MAX: Final = 0.9999


@dataclass(frozen=True, slots=True, kw_only=True)
class Ringed:
    """The events of a recording in which a kind's ring feature was fresh: a row for each role."""

    membership: Floats
    surplus: Floats
    bad: Bools
    groups: Ints

    @property
    def positives(self) -> int:
        """How many of them turned out bad."""
        return int(self.bad.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedKind:
    """What one kind's map is worth on events that it was not fitted on."""

    kind: str
    events: int
    positives: int
    expected: float
    brier: Interval
    # Of a map that says the share of bad events of everything: the best that knows nothing.
    brier_of_share: Interval
    # Of the membership, read as if it were a probability.
    brier_of_membership: Interval
    # Paired: above zero, the map is better than the bare share.
    gain_on_share: Interval
    bins: list[Bin]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """The maps of one path, what they were fitted on, and what they are worth elsewhere."""

    sampled: Sampled
    steps: tuple[Steps, ...]
    judged: tuple[JudgedKind, ...]
    events: int
    positives: int
    # Kinds with too few bad events to fit on or to judge by: they have no map.
    left_out: tuple[str, ...]


def calibrate(
    pipeline: Pipeline, path: str, recording: Recording, elsewhere: Recording, draws: Bootstrap
) -> Calibrated:
    """The maps of that path. Raises RecordingError where there is no judging or no fitting."""
    sampled = pipeline.sampled(path)
    if sampled is None:
        raise RecordingError(
            f"path '{path}' has no memberships of one sampler here: wanted a path that "
            "[sampling] draws, see --path"
        )
    refuse_overlap(recording, elsewhere)
    fitted, judging = ringed(pipeline, recording), ringed(pipeline, elsewhere)
    if not any(len(rows.bad) for rows in fitted.values()):
        raise RecordingError(
            f"no event shows a fresh membership of path '{path}' with its energy: the score table "
            "must have a term that reads ROLE.ring.membership and one for .optimum_energy"
        )
    kept = {
        kind: rows
        for kind, rows in fitted.items()
        if rows.positives >= FIT_POSITIVES_MIN
        and kind in judging
        and judging[kind].positives >= JUDGED_POSITIVES_MIN
    }
    if not kept:
        counts = ", ".join(
            f"{kind} {rows.positives} and {judging[kind].positives}"
            for kind, rows in fitted.items()
        )
        raise RecordingError(
            f"too few bad events with a fresh membership to fit on ({FIT_POSITIVES_MIN}) and to "
            f"judge by ({JUDGED_POSITIVES_MIN}): {counts}; record for longer"
        )
    steps = tuple(steps_of(kind, rows.surplus, rows.bad) for kind, rows in kept.items())
    return Calibrated(
        sampled=sampled,
        steps=steps,
        judged=tuple(judged(each, judging[each.kind], draws) for each in steps),
        events=sum(len(rows.bad) for rows in kept.values()),
        positives=sum(rows.positives for rows in kept.values()),
        left_out=tuple(kind for kind in fitted if kind not in kept),
    )


def ringed(pipeline: Pipeline, recording: Recording) -> dict[str, Ringed]:
    """By entity kind; two roles of one kind are two rows of an event."""
    groups = groups_of(pipeline, recording)
    found: dict[str, list[tuple[Floats, Bools, Ints]]] = {}
    for role, known in recording.rings.items():
        fresh = ~np.isnan(known[:, 1])
        rows = (known[fresh], recording.bad[fresh], groups[fresh])
        found.setdefault(pipeline.kind(role), []).append(rows)
    return {
        kind: Ringed(
            membership=np.concatenate([known[:, 0] for known, _, _ in parts]),
            surplus=np.concatenate([known[:, 1] for known, _, _ in parts]),
            bad=np.concatenate([bad for _, bad, _ in parts]),
            groups=np.concatenate([group for _, _, group in parts]),
        )
        for kind, parts in found.items()
    }


def steps_of(kind: str, surplus: Floats, bad: Bools) -> Steps:
    """The map of these rows, at least one event among them: rising, and never 0 or 1."""
    starts, events, hits = [0.0], [0], [0]
    for start, rows, positives in _blocks(surplus, bad):
        # A step that is complete is left when the next begins, somewhat further up.
        complete = hits[-1] >= STEP_POSITIVES_MIN and events[-1] - hits[-1] >= STEP_POSITIVES_MIN
        if complete and start > starts[-1]:
            starts.append(start)
            events.append(0)
            hits.append(0)
        events[-1] += rows
        hits[-1] += positives
    if len(starts) > 1 and hits[-1] < STEP_POSITIVES_MIN:
        starts.pop()
        events[-2:] = [sum(events[-2:])]
        hits[-2:] = [sum(hits[-2:])]
    # Jeffreys' prior: what has never been seen is not impossible.
    shares = (np.array(hits) + 0.5) / (np.array(events) + 1.0)
    return Steps(
        kind=kind,
        share=_rounded(float(bad.mean())),
        surplus=tuple(starts),
        probability=tuple(_rounded(each) for each in np.maximum.accumulate(shares).tolist()),
    )


def _blocks(surplus: Floats, bad: Bools) -> Iterator[tuple[float, int, int]]:
    """The pooled blocks of the isotonic regression from low to high: start, events, bad ones."""
    from sklearn.isotonic import IsotonicRegression

    level = np.floor(surplus / SURPLUS_GRAIN + 1e-9) * SURPLUS_GRAIN
    order = np.argsort(level, kind="stable")
    rising, outcome = level[order], bad[order]
    pooled = IsotonicRegression().fit_transform(rising, outcome.astype(np.float64))
    edges = np.flatnonzero(np.diff(pooled, prepend=-1.0))
    for start, end in zip(edges.tolist(), [*edges[1:].tolist(), len(rising)], strict=True):
        yield round(float(rising[start]), DIGITS), end - start, int(outcome[start:end].sum())


def judged(steps: Steps, rows: Ringed, draws: Bootstrap) -> JudgedKind:
    """What a map is worth on these rows; intervals are of draws of whole groups."""
    probability = np.array([steps.at(surplus) for surplus in rows.surplus.tolist()])
    ours = Brier(rows.bad, probability)
    share = Brier(rows.bad, np.full(len(rows.bad), rows.bad.mean()))
    intervals = bootstrap_intervals(
        {
            "ours": ours,
            "share": share,
            "membership": Brier(rows.bad, rows.membership),
            "gain": Difference(share, ours),
        },
        rows.groups,
        draws,
    )
    return JudgedKind(
        kind=steps.kind,
        events=len(rows.bad),
        positives=rows.positives,
        expected=float(probability.sum()),
        brier=intervals["ours"],
        brier_of_share=intervals["share"],
        brier_of_membership=intervals["membership"],
        gain_on_share=intervals["gain"],
        bins=calibration_bins(rows.bad, probability),
    )


def _rounded(share: float) -> float:
    """To be read by people; and not so far that it says always."""
    return min(float(f"{share:.{DIGITS}g}"), SHARE_MAX)
