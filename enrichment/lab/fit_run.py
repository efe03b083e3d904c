"""One run of `enrichment fit`: recordings read, seeds held apart, the table made and described."""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from enrichment.lab.evaluate import committed_values
from enrichment.lab.fit import Fit, Fitting, Judgement, fit, table_of
from enrichment.lab.recorded import (
    Recorder,
    Recording,
    RecordingError,
    Selection,
    lines,
    outcomes_of,
)
from enrichment.lab.simulate import run_of_seed
from enrichment.pipelines import Pipeline
from enrichment.pipelines.definition import ScoreTable
from enrichment.pipelines.table import Provenance
from enrichment.rollout.bootstrap import Interval
from enrichment.stream.topics import StreamTopics

METHOD: Final = "logistic regression"
PHASES: Final = ("outcomes", "recording", "recording to judge by", "fitting")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where events and outcomes are recorded, and which simulated seeds are whose part."""

    # Enriched records as JSON lines; none means the stream's topics.
    files: tuple[Path, ...] = ()
    outcomes: tuple[Path, ...] = ()
    judge: tuple[Path, ...] = ()
    seeds: tuple[int, ...] = ()
    judge_seeds: tuple[int, ...] = ()
    unreported_are_good: bool = True
    serve: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What is fitted on, and what the table is judged on besides its folds."""

    fitted: Recording
    elsewhere: Recording | None


Watch = Callable[[str, float | None], None]


def read(
    client: dict[str, Any] | None, pipeline: Pipeline, sources: Sources, watch: Watch
) -> Recorded:
    """Read the recordings; `client` is needed where there are no files. `watch` gets phase, share.

    Raises RecordingError, EvaluationError where a topic is missing, KafkaException.
    """
    _refuse_equal_seeds(sources)
    topics = StreamTopics(pipeline.name)

    def values(files: tuple[Path, ...], topic: str, phase: str) -> Iterable[bytes]:
        watch(phase, None)
        if files or client is None:
            return lines(files, lambda share: watch(phase, share))
        return committed_values(client, topic)

    told: dict[str, bool] = {}
    if sources.outcomes or not sources.files:
        told = outcomes_of(values(sources.outcomes, topics.outcomes, PHASES[0]))
    elif pipeline.labels is None:
        raise RecordingError(
            f"pipeline '{pipeline.name}' has no [labels]: say with --outcomes what turned out"
        )
    serve = sources.serve or pipeline.score.serve
    recorder = Recorder(pipeline, told, serve=serve)
    recorder.take(values(sources.files, topics.enriched, PHASES[1]))
    judging = recorder
    if sources.judge:
        judging = Recorder(pipeline, told, serve=serve)
        judging.take(values(sources.judge, topics.enriched, PHASES[2]))
    fitted = recorder.recording(_selection(recorder, sources.seeds, sources, "--seed"))
    elsewhere = None
    if sources.judge or sources.judge_seeds:
        chosen = _selection(judging, sources.judge_seeds, sources, "--judge-seed")
        elsewhere = judging.recording(chosen)
    return Recorded(fitted=fitted, elsewhere=elsewhere)


def _refuse_equal_seeds(sources: Sources) -> None:
    if both := sorted(set(sources.seeds) & set(sources.judge_seeds)):
        raise RecordingError(
            f"--judge-seed {both[0]}: the table is fitted on that seed, and would be judged by "
            "what it knows; simulate another"
        )


def _selection(
    recorder: Recorder, seeds: tuple[int, ...], sources: Sources, option: str
) -> Selection:
    """The events of these seeds. A simulated recording must say its seeds: they are checked later.

    Raises RecordingError where a seed has no event there.
    """
    runs = {run_of_seed(seed): seed for seed in seeds}
    for run, seed in runs.items():
        if run not in recorder.runs:
            raise RecordingError(f"{option} {seed}: the recording holds no event of that seed")
    if recorder.runs and not seeds:
        raise RecordingError(
            f"the recording holds simulated events: say of which seed with {option}, so that the "
            "table is never judged on what it was fitted on"
        )
    return Selection(
        runs=frozenset(runs) if seeds else None, unreported_are_good=sources.unreported_are_good
    )


def made(
    pipeline: Pipeline, recorded: Recorded, sources: Sources, fitting: Fitting
) -> tuple[Fit, ScoreTable]:
    """The fit and its table, without a version or a time yet. Raises RecordingError."""
    fitted = fit(pipeline, recorded.fitted, fitting, recorded.elsewhere)
    best = fitted.elsewhere or fitted.by_folds
    assert best is not None  # noqa: S101  # `fit` refuses where nothing can be judged
    provenance = Provenance(
        method=METHOD,
        fitted_on=(described(pipeline, recorded.fitted, sources.seeds),),
        judged_on=(
            (described(pipeline, recorded.elsewhere, sources.judge_seeds),)
            if recorded.elsewhere is not None
            else ("folds of it by group and time",)
        ),
        seeds=sources.seeds,
        judged_seeds=sources.judge_seeds,
        simulated=bool(recorded.fitted.runs),
        events=fitted.events,
        positives=fitted.positives,
        c=fitted.weights.strength,
        metrics=_metrics(best),
        note=note_on(recorded.fitted, sources),
    )
    table = table_of(pipeline, fitted, "unnamed")
    return fitted, msgspec.structs.replace(table, provenance=provenance)


def note_on(recording: Recording, sources: Sources) -> str:
    """What was assumed of events of which nothing became known."""
    if not sources.unreported_are_good:
        return "Unreported events were left out: probabilities are of reported ones."
    return "" if recording.told.all() else "Of unreported events it was assumed that they are good."


def named(table: ScoreTable, version: str, *, now_s: float) -> ScoreTable:
    """The table with its version and the time it was fitted at."""
    at = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    assert table.provenance is not None  # noqa: S101  # `made` gives it one
    provenance = msgspec.structs.replace(table.provenance, fitted_at=at)
    return msgspec.structs.replace(table, version=version, provenance=provenance)


def described(pipeline: Pipeline, recording: Recording, seeds: tuple[int, ...]) -> str:
    """One line that tells a recording from others."""
    first, last = (
        datetime.fromtimestamp(int(at_ms) / 1000, UTC).isoformat(timespec="seconds")[:19] + "Z"
        for at_ms in (recording.at_ms.min(), recording.at_ms.max())
    )
    which = f", simulated, seed {' and '.join(map(str, seeds))}" if seeds else ""
    return f"{pipeline.name}{which}, {len(recording):,} events, {first} to {last}"


def _metrics(judged: Judgement) -> dict[str, float]:
    figures = {
        "average_precision": judged.average_precision.value,
        "average_precision_low": judged.average_precision.low,
        "average_precision_high": judged.average_precision.high,
        "brier": judged.brier.value,
        "brier_of_share": judged.brier_of_share,
    }
    return {name: round(v, 6) for name, v in figures.items() if math.isfinite(v)}


def plain(fitted: Fit, table: ScoreTable) -> dict[str, Any]:
    """The whole report as JSON would have it."""
    judged = {
        name: None if each is None else _plain_judgement(each)
        for name, each in (
            ("by_folds", fitted.by_folds),
            ("elsewhere", fitted.elsewhere),
            ("in_force", fitted.in_force),
        )
    }
    return {
        "version": table.version,
        "events": fitted.events,
        "positives": fitted.positives,
        "groups": fitted.groups,
        "largest_group": fitted.largest_group,
        "folds": fitted.folds,
        "folds_passed_over": fitted.passed_over,
        "c": fitted.weights.strength,
        "c_by_fold": fitted.strengths,
        "coefficients": [asdict(each) for each in (fitted.bias, *fitted.coefficients)],
        "judged": judged,
        "provenance": msgspec.to_builtins(table.provenance),
    }


def _plain_judgement(judged: Judgement) -> dict[str, Any]:
    shown = asdict(judged)
    for name in ("average_precision", "without_ring", "brier"):
        interval: Interval | None = getattr(judged, name)
        shown[name] = None if interval is None else plain_interval(interval)
    shown["levels"] = {
        name: {"events": events, "bad": bad} for name, (events, bad) in judged.levels.items()
    }
    return shown


def plain_interval(interval: Interval) -> dict[str, float | None]:
    """An interval as JSON; what is undefined is null."""
    ends = {"value": interval.value, "low": interval.low, "high": interval.high}
    return {name: v if math.isfinite(v) else None for name, v in ends.items()}
