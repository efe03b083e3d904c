"""A pipeline of calls: what its file need not say, for it has no events to mean anything."""

from typing import Any, Final

from enrichment.pipelines.definition import VARIABLES_MAX
from enrichment.pipelines.table import PipelineError

OF_EVENTS: Final = (
    "entities", "labels", "links", "aggregates", "window", "score", "replay", "limits",
)  # fmt: skip
"""Tables that say what events mean, how they are windowed and how they are scored."""

STREAM: Final = frozenset({"name", "amount_scale"})
"""What of `[stream]` is not about an event's fields."""

NO_FIELD: Final = "-"  # where a stream would name a field of its events

NO_SCORE: Final = {
    "version": "none",
    "bias": 0.0,
    "terms": [{"name": "none", "value": f"event.{NO_FIELD}", "weight": 0.0}],
}

NO_CASES: Final = {"members_min": VARIABLES_MAX + 1}
"""No ring has so many members. A call's shard is its own, so that no ring continues another's: each
call would make cases anew. Whoever wants them says so in `[cases]`."""


def of_calls(tables: dict[str, Any], file: str) -> dict[str, Any]:
    """The tables of a file with `[calls]`, completed. Raises PipelineError for what is of events.

    A key that would change nothing is an error: whoever wrote it expects otherwise.
    """
    for name in OF_EVENTS:
        if name in tables:
            raise PipelineError(f"{file}: {name}: is about events, and with [calls] there are none")
    stream, calls = tables.get("stream"), tables["calls"]
    if not isinstance(stream, dict) or not isinstance(calls, dict):
        return tables  # whoever converts them says what is wrong
    for key in stream:
        if key not in STREAM:
            said = "is about events, and with [calls] there are none"
            raise PipelineError(f"{file}: stream.{key}: {said}")
    return {
        "cases": NO_CASES,
        **tables,
        "stream": {**dict.fromkeys(("id", "key", "time"), NO_FIELD), **stream},
        # Behind `calls`: what is wrong with its entity is said of it.
        "entities": {str(calls.get("entity", "node")): NO_FIELD},
        "score": NO_SCORE,
    }
