"""A score table fitted to recorded events and outcomes, and what it is worth on others.

Every figure is of events that the weights in question were not fitted on. By folds, each fold's
model is judged on other groups and on later events than it knows; with a second recording, the
table itself, as it will be written, is judged on that.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec
import numpy as np

from enrichment.lab.calibration import Bin, Brier, calibration_bins
from enrichment.lab.folds import FOLD_POSITIVES_MIN, Weights, fit_weights, folds_of
from enrichment.lab.groups import groups_of
from enrichment.lab.recorded import Recording, RecordingError
from enrichment.pipelines import Pipeline
from enrichment.pipelines.definition import Levels, ScoreTable
from enrichment.rollout.bootstrap import Bootstrap, Interval, bootstrap_intervals
from enrichment.rollout.metrics import AveragePrecision, Bools, Floats, Ints, Ranking

BLOCKS: Final = 4  # stretches of time; the first is fitted on and never judged
PARTS: Final = 3  # of the groups: a fold is fitted on two thirds of them
# Ten bad events for each weight (Peduzzi et al., 1996): with fewer, weights follow single events.
POSITIVES_PER_TERM: Final = 10
# An average precision of fewer hangs on single events, and its interval says nothing.
JUDGED_POSITIVES_MIN: Final = 20
DIGITS: Final = 4  # of a weight: what is beyond is noise, and makes a table hard to read


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What probabilities are worth on events that they were not fitted on."""

    events: int
    positives: int
    average_precision: Interval
    # The same of the table with its ring terms at their priors.
    without_ring: Interval | None
    brier: Interval
    # The Brier score of a table that says the share of bad events of everything.
    brier_of_share: float
    # Bad events expected, as the sum of probabilities.
    expected: float
    bins: list[Bin]
    # Level -> (events, bad events).
    levels: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficient:
    """One term's weight, and how it varied over the folds."""

    name: str
    weight: float
    deviation: float
    least: float
    most: float
    # Whether the term's value was ever another: else nothing can be said of it, and it weighs 0.
    told: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A fitted table and what is known of it."""

    weights: Weights
    coefficients: list[Coefficient]
    bias: Coefficient
    events: int
    positives: int
    groups: int
    largest_group: int
    folds: int
    # Folds that were passed over, having too few bad events to fit on.
    passed_over: int
    strengths: list[float]
    by_folds: Judgement | None
    elsewhere: Judgement | None = None
    in_force: Judgement | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitting:
    """How a table is fitted and judged."""

    draws: Bootstrap
    blocks: int = BLOCKS
    parts: int = PARTS
    on_progress: Callable[[float], None] = field(default=lambda _: None)


def fit(
    pipeline: Pipeline, recording: Recording, fitting: Fitting, elsewhere: Recording | None = None
) -> Fit:
    """The table of this recording, judged by folds of it and on another recording, where given.

    Raises RecordingError where there is too little to fit on or to judge by.
    """
    terms = pipeline.score.terms
    told = recording.served.std(axis=0) > 0
    needed = max(POSITIVES_PER_TERM * int(told.sum()), FOLD_POSITIVES_MIN)
    _refuse_too_few(recording, needed)
    if elsewhere is not None:
        refuse_overlap(recording, elsewhere)
        if elsewhere.positives < JUDGED_POSITIVES_MIN:
            raise RecordingError(
                f"{elsewhere.positives} bad events to judge by, wanted {JUDGED_POSITIVES_MIN}: an "
                "average precision of fewer hangs on single events"
            )
    groups = groups_of(pipeline, recording)
    chance, plain, models, passed_over = _out_of_fold(recording, groups, fitting)
    judged = np.isfinite(chance)
    by_folds = None
    if int(recording.bad[judged].sum()) >= JUDGED_POSITIVES_MIN:
        chances = (chance[judged], plain[judged])
        levels = pipeline.score.levels
        by_folds = judge(recording.bad[judged], chances, groups[judged], levels, fitting.draws)
    elif elsewhere is None:
        raise RecordingError(
            f"{int(recording.bad[judged].sum())} bad events in folds that can be judged, wanted "
            f"{JUDGED_POSITIVES_MIN}: record for longer, or give a second recording with --judge"
        )
    weights = rounded(fit_weights(recording.served, recording.bad, groups))
    _, sizes = np.unique(groups, return_counts=True)
    every = np.array([model.weights for model in models] or [weights.weights])
    biases = np.array([model.bias for model in models] or [weights.bias])
    fitting.on_progress(1.0)
    return Fit(
        weights=weights,
        coefficients=[
            _coefficient(term.name, weights.weights[n], every[:, n], told=bool(told[n]))
            for n, term in enumerate(terms)
        ],
        bias=_coefficient("bias", weights.bias, biases, told=True),
        events=len(recording),
        positives=recording.positives,
        groups=len(sizes),
        largest_group=int(sizes.max()),
        folds=len(models),
        passed_over=passed_over,
        strengths=[model.strength for model in models],
        by_folds=by_folds,
        elsewhere=None if elsewhere is None else on_another(pipeline, weights, elsewhere, fitting),
        in_force=None if elsewhere is None else _in_force(pipeline, elsewhere, fitting),
    )


def _refuse_too_few(recording: Recording, needed: int) -> None:
    positives, events = recording.positives, len(recording)
    if positives < needed:
        raise RecordingError(
            f"{positives} bad events of {events:,} to fit on, wanted {needed}: "
            f"{POSITIVES_PER_TERM} for each term that varies, since with fewer the weights follow "
            "single events; record for longer, or wait for outcomes"
        )
    if positives > events - needed:
        raise RecordingError(
            f"{events - positives} good events of {events:,}, wanted {needed}: see --unreported"
        )


def refuse_overlap(recording: Recording, elsewhere: Recording) -> None:
    """No table is judged on what it was fitted on, nor on what came before. RecordingError."""
    if recording.runs & elsewhere.runs:
        raise RecordingError(
            "the recording to judge by holds a simulated run that the table is fitted on: simulate "
            "another seed, and name it with --judge-seed"
        )
    if not set(recording.ids).isdisjoint(elsewhere.ids):
        raise RecordingError("the recording to judge by holds events that the table is fitted on")
    simulated = recording.runs and elsewhere.runs
    if not simulated and int(elsewhere.at_ms.min()) < int(recording.at_ms.max()):
        raise RecordingError("the recording to judge by begins before the end of the fitted one")


def _out_of_fold(
    recording: Recording, groups: Ints, fitting: Fitting
) -> tuple[Floats, Floats, list[Weights], int]:
    """Probabilities by models that know neither the event's group nor its time; NaN if not judged.

    With them those without ring terms, the models, and how many folds were passed over.
    """
    bad = recording.bad
    chance, plain = np.full(len(bad), np.nan), np.full(len(bad), np.nan)
    models: list[Weights] = []
    passed_over = 0
    folds = list(folds_of(recording.at_ms, groups, bad, blocks=fitting.blocks, parts=fitting.parts))
    for number, fold in enumerate(folds):
        fitting.on_progress(number / (len(folds) + 1))
        if int(bad[fold.train].sum()) < FOLD_POSITIVES_MIN or not fold.test.any():
            passed_over += 1
            continue
        model = fit_weights(recording.served[fold.train], bad[fold.train], groups[fold.train])
        models.append(model)
        chance[fold.test] = model.probabilities(recording.served[fold.test])
        plain[fold.test] = model.probabilities(recording.heuristic[fold.test])
    return chance, plain, models, passed_over


def judge(
    bad: Bools, chances: tuple[Floats, Floats], groups: Ints, levels: Levels, draws: Bootstrap
) -> Judgement:
    """What these probabilities are worth: as they serve, and with ring terms at their priors.

    Intervals are of draws of whole groups, since events of a ring are not independent.
    """
    chance, plain = chances
    figures = bootstrap_intervals(
        {
            "average_precision": AveragePrecision(Ranking(bad, chance)),
            "without_ring": AveragePrecision(Ranking(bad, plain)),
            "brier": Brier(bad, chance),
        },
        groups,
        draws,
    )
    share = float(bad.mean())
    score = 100.0 * chance
    at_least = {
        "normal": score < levels.elevated,
        "elevated": (score >= levels.elevated) & (score < levels.highest),
        "highest": score >= levels.highest,
    }
    return Judgement(
        events=len(bad),
        positives=int(bad.sum()),
        average_precision=figures["average_precision"],
        without_ring=None if np.array_equal(chance, plain) else figures["without_ring"],
        brier=figures["brier"],
        brier_of_share=share * (1.0 - share),
        expected=float(chance.sum()),
        bins=calibration_bins(bad, chance),
        levels={
            name: (int(within.sum()), int(bad[within].sum())) for name, within in at_least.items()
        },
    )


def on_another(
    pipeline: Pipeline, weights: Weights, recording: Recording, fitting: Fitting
) -> Judgement:
    """What a table is worth on a recording that it was not fitted on."""
    chances = (
        weights.probabilities(recording.served),
        weights.probabilities(recording.heuristic),
    )
    groups = groups_of(pipeline, recording)
    return judge(recording.bad, chances, groups, pipeline.score.levels, fitting.draws)


def _in_force(pipeline: Pipeline, recording: Recording, fitting: Fitting) -> Judgement | None:
    """The same of the table in force; None where it was fitted on that very seed."""
    from enrichment.lab.simulate import run_of_seed

    score = pipeline.score
    seeds = () if score.provenance is None else score.provenance.seeds
    if recording.runs & {run_of_seed(seed) for seed in seeds}:
        return None
    weights = np.array([term.weight for term in score.terms])
    table = Weights(bias=score.bias, weights=weights, strength=0.0)
    return on_another(pipeline, table, recording, fitting)


def rounded(weights: Weights) -> Weights:
    """The weights as a table will hold them: what is judged is what is written."""
    return Weights(
        bias=_to_digits(weights.bias),
        weights=np.array([_to_digits(weight) for weight in weights.weights.tolist()]),
        strength=weights.strength,
    )


def _to_digits(number: float) -> float:
    return float(f"{number:.{DIGITS}g}") if math.isfinite(number) else number


def _coefficient(name: str, weight: float, over_folds: Floats, *, told: bool) -> Coefficient:
    return Coefficient(
        name=name,
        weight=float(weight),
        deviation=float(over_folds.std()),
        least=float(over_folds.min()),
        most=float(over_folds.max()),
        told=told,
    )


def table_of(pipeline: Pipeline, fitted: Fit, version: str) -> ScoreTable:
    """The pipeline's score table with these weights; priors, levels and decisions stay."""
    score = pipeline.score
    terms = tuple(
        msgspec.structs.replace(term, weight=float(weight))
        for term, weight in zip(score.terms, fitted.weights.weights.tolist(), strict=True)
    )
    return ScoreTable(
        version=version,
        bias=fitted.weights.bias,
        terms=terms,
        levels=score.levels,
        decisions=score.decisions,
    )
