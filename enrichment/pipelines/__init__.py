"""What a stream means, said in a file: no stage knows what a payment is.

Declarative definitions only; the loader checks them and imports no stage.
"""

from enrichment.pipelines.definition import (
    AggregateDefinition,
    Entity,
    LinkDefinition,
    Pipeline,
    Term,
)
from enrichment.pipelines.loader import load, names, written
from enrichment.pipelines.table import PipelineError

__all__ = [
    "AggregateDefinition",
    "Entity",
    "LinkDefinition",
    "Pipeline",
    "PipelineError",
    "Term",
    "load",
    "names",
    "written",
]
