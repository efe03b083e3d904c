"""One run of `enrichment fit --calibrate`: the maps as their file holds them, and as JSON."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from enrichment.lab.fit_run import Recorded, Sources, described, note_on, plain_interval
from enrichment.lab.recorded import RecordingError
from enrichment.lab.ring_probability import METHOD, Calibrated, calibrate
from enrichment.lab.score_file import provenance_lines, toml_value
from enrichment.pipelines import Pipeline, PipelineError
from enrichment.pipelines.loader import PROBABILITY_SUFFIX, parse_probability
from enrichment.pipelines.probability import RingProbability
from enrichment.pipelines.table import Provenance
from enrichment.rollout.bootstrap import Bootstrap, Interval

GRAIN: Final = 6  # digits of a metric


def made(
    pipeline: Pipeline, recorded: Recorded, sources: Sources, draws: Bootstrap
) -> tuple[Calibrated, RingProbability]:
    """The calibration and its file, without a version or a time yet. Raises RecordingError."""
    if recorded.elsewhere is None:
        raise RecordingError(
            "a calibration is judged on what it has not seen: name another seed with --judge-seed, "
            "or a later recording with --judge"
        )
    path = sources.serve or pipeline.score.serve
    found = calibrate(pipeline, path, recorded.fitted, recorded.elsewhere, draws)
    provenance = Provenance(
        method=METHOD,
        fitted_on=(described(pipeline, recorded.fitted, sources.seeds),),
        judged_on=(described(pipeline, recorded.elsewhere, sources.judge_seeds),),
        seeds=sources.seeds,
        judged_seeds=sources.judge_seeds,
        simulated=bool(recorded.fitted.runs),
        events=found.events,
        positives=found.positives,
        metrics={
            f"{name}_{judged.kind}": round(interval.value, GRAIN)
            for judged in found.judged
            for name, interval in (
                ("brier", judged.brier),
                ("brier_of_share", judged.brier_of_share),
                ("brier_of_membership", judged.brier_of_membership),
            )
        },
        note=note_on(recorded.fitted, sources),
    )
    file = RingProbability(
        version="unnamed", sampled=found.sampled, steps=found.steps, provenance=provenance
    )
    return found, file


def named(file: RingProbability, version: str, *, now_s: float) -> RingProbability:
    """The calibration with its version and the time it was fitted at."""
    at = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    provenance = msgspec.structs.replace(file.provenance, fitted_at=at)
    return msgspec.structs.replace(file, version=version, provenance=provenance)


def written(file: RingProbability, stream: str) -> str:
    """The calibration in TOML. Raises PipelineError where it does not read back."""
    sampled: dict[str, object] = msgspec.to_builtins(file.sampled)
    lines = [
        f"# What memberships are worth on {stream}, as `enrichment fit --calibrate` wrote it.",
        "# From each surplus on (membership times -energy), the share of events that were bad:",
        "# docs/decisions/ring-probability.md explains it.",
        f"version = {toml_value(file.version)}",
        "",
        "[sampled]",
        *(f"{name} = {toml_value(value)}" for name, value in sampled.items()),
    ]
    for steps in file.steps:
        mine: dict[str, object] = msgspec.to_builtins(steps)
        lines += ["", "[[steps]]", *(f"{k} = {toml_value(v)}" for k, v in mine.items())]
    lines += ["", "[provenance]", *provenance_lines(file.provenance)]
    text = "\n".join(lines) + "\n"
    if parse_probability(text.encode(), stream) != file:
        raise PipelineError(f"{stream}{PROBABILITY_SUFFIX}: what was written is not what was meant")
    return text


def plain(found: Calibrated, file: RingProbability) -> dict[str, Any]:
    """The whole report as JSON would have it."""
    judged = []
    for each in found.judged:
        shown = asdict(each)
        for name, value in asdict(each).items():
            interval = getattr(each, name)
            shown[name] = plain_interval(interval) if isinstance(interval, Interval) else value
        judged.append(shown)
    return {
        "version": file.version,
        "sampled": msgspec.to_builtins(file.sampled),
        "events": found.events,
        "positives": found.positives,
        "left_out": list(found.left_out),
        "steps": msgspec.to_builtins(file.steps),
        "judged": judged,
        "provenance": msgspec.to_builtins(file.provenance),
    }
