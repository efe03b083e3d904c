"""One event's score taken apart: every term as every path sees it, checked by the scorer's own."""

import math
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from enrichment.enrich.route import route
from enrichment.enrich.score import LOG_ODDS_MAX, Scorer
from enrichment.enrich.terms import PATHS
from enrichment.lab.terms import Observed, Part, known_paths, numbers_of, part
from enrichment.pipelines import Pipeline
from enrichment.records import Enriched

# The scorer rounds scores and contributions to six decimals, and adds in an order of its own.
ROUNDING: Final = 2e-6


class ExplanationError(ValueError):
    """An event that cannot be explained, said in one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathShown:
    """What one path makes of the event; parts are largest first."""

    score: float
    log_odds: float
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One event's score: by path, and what follows from the one that serves."""

    event_id: str
    path: str
    level: str
    decision: str
    bias: float
    paths: dict[str, PathShown]
    score_version: str
    pipeline_version: str
    # What the record itself says: its versions, served score and decision.
    recorded_score_version: str
    recorded_pipeline_version: str
    recorded_score: float
    recorded_decision: str

    @property
    def same_table(self) -> bool:
        """Whether the record was scored by the table that explains it."""
        return (self.score_version, self.pipeline_version) == (
            self.recorded_score_version,
            self.recorded_pipeline_version,
        )


def explain(pipeline: Pipeline, value: bytes) -> Explanation:
    """The score of an enriched record by this pipeline's table. Raises ExplanationError.

    Scores, level and decision are the hot path's own scorer's; the parts must add up to them. Which
    paths might serve is the record's own word.
    """
    record, observed = _decoded(pipeline, value)
    numbers, features = numbers_of(pipeline, observed.event), observed.by_role()
    scorer = Scorer(pipeline)
    way = scorer.route if record.rollout is None else route(record.rollout.paths, record.rollout)
    scored = scorer.score(numbers, features, way)
    bias = pipeline.score.bias
    paths = {}
    for path in known_paths(features):
        score = getattr(scored.scores, path)
        if score is None:
            raise ExplanationError(f"the scorer knows no {path} path, and the parts do: a bug")
        parts = [part(term, path, numbers, features) for term in pipeline.score.terms]
        log_odds = bias + math.fsum(each.contribution for each in parts)
        bounded = max(-LOG_ODDS_MAX, min(log_odds, LOG_ODDS_MAX))
        if abs(100.0 / (1.0 + math.exp(-bounded)) - score) > ROUNDING:
            raise ExplanationError(f"the parts do not add up to the {path} score {score}: a bug")
        parts.sort(key=lambda each: (-abs(each.contribution), each.term.name))
        paths[path] = PathShown(score=score, log_odds=log_odds, parts=tuple(parts))
    served = scored.path.value
    if served != next(path for path in (PATHS[n].value for n in way.order) if path in paths):
        raise ExplanationError(f"the scorer serves by {served}, and the parts do not: a bug")
    return Explanation(
        event_id=record.event_id,
        path=served,
        level=scored.level.value,
        decision=scored.decision.value,
        bias=bias,
        paths={served: paths.pop(served), **paths},
        score_version=pipeline.score.version,
        pipeline_version=pipeline.version,
        recorded_score_version=record.score_version,
        recorded_pipeline_version=record.pipeline_version,
        recorded_score=record.scores.served,
        recorded_decision=record.decision.value,
    )


def _decoded(pipeline: Pipeline, value: bytes) -> tuple[Enriched, Observed]:
    try:
        record = msgspec.json.decode(value, type=Enriched)
        observed = msgspec.json.decode(value, type=Observed)
    except msgspec.DecodeError as error:
        said = f"{error}; wanted a record as it is on {pipeline.name}.enriched"
        raise ExplanationError(f"no enriched event: {said}") from error
    if record.pipeline != pipeline.name:
        found = f"an event of pipeline '{record.pipeline}'"
        raise ExplanationError(f"{found}, wanted '{pipeline.name}': say --pipeline")
    return record, observed


def plain(explanation: Explanation) -> dict[str, Any]:
    """The explanation as JSON would have it."""
    return {
        "event_id": explanation.event_id,
        "path": explanation.path,
        "level": explanation.level,
        "decision": explanation.decision,
        "bias": explanation.bias,
        "score_version": explanation.score_version,
        "pipeline_version": explanation.pipeline_version,
        "recorded": {
            "same_table": explanation.same_table,
            "score_version": explanation.recorded_score_version,
            "pipeline_version": explanation.recorded_pipeline_version,
            "score": explanation.recorded_score,
            "decision": explanation.recorded_decision,
        },
        "paths": {
            path: {
                "score": shown.score,
                "log_odds": shown.log_odds,
                "terms": [_plain_part(each) for each in shown.parts],
            }
            for path, shown in explanation.paths.items()
        },
    }


def _plain_part(each: Part) -> dict[str, Any]:
    term = each.term
    return {
        "term": term.name,
        "value": {"of": term.value, "is": each.value},
        "over": None if term.over is None else {"of": term.over, "is": each.over},
        "quotient": each.quotient,
        "at_prior": each.at_prior,
        "transform": term.transform.value,
        "transformed": each.transformed,
        "weight": term.weight,
        "contribution": each.contribution,
    }
