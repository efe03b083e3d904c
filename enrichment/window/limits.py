"""What a pipeline file says of links and problems, by the kind of what is shared."""

from dataclasses import dataclass
from typing import Final

from enrichment.pipelines import Pipeline
from enrichment.window.graph import DIRECT

SIXTEENTHS: Final = 16  # adjacency is counted in these


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a pipeline file says of links and problems."""

    horizon_ms: int
    variables_max: int
    problems_max: int
    # Attribute kind (or `>`) -> the most that may share it, and what sharing it weighs.
    degree_max: dict[str, int]
    weight: dict[str, float]
    # The least adjacency that is an edge, in sixteenths.
    sixteenths_min: int

    @classmethod
    def of(cls, pipeline: Pipeline) -> "Limits":
        """The limits that the pipeline's file states; of two for one kind, the stricter."""
        degree_max: dict[str, int] = {}
        weight: dict[str, float] = {}
        for link in pipeline.links:
            kind = DIRECT if link.direct else pipeline.kind(link.roles[1])
            degree_max[kind] = min(link.degree_max, degree_max.get(kind, link.degree_max))
            weight[kind] = min(link.weight, weight.get(kind, link.weight))
        return cls(
            horizon_ms=pipeline.window.horizon_ms,
            variables_max=pipeline.problem.variables_max,
            problems_max=pipeline.problem.problems_max,
            degree_max=degree_max,
            weight=weight,
            sixteenths_min=max(1, round(pipeline.problem.weight_min * SIXTEENTHS)),
        )
