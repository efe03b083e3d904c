"""Routes: which paths may serve an event, in which order, and what its record says of it. Pure.

There are a handful at a time, made when an instruction changes and shared by all events. Where
nothing is in force an event is on the way of the pipeline's file, and its record says nothing.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from enrichment.enrich.events import Events
from enrichment.enrich.terms import HEURISTIC, PATHS
from enrichment.pipelines import Pipeline
from enrichment.records import Assigned, Decision, Path
from enrichment.rollout.assign import Policy
from enrichment.rollout.control import ControlState

_ENCODE: Final = msgspec.json.Encoder().encode
_NUMBERS: Final = {path: number for number, path in enumerate(PATHS)}


class Route(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One event's way: its paths by number, the first that is known serving."""

    order: tuple[int, ...]
    untreated: bool
    # The record's `rollout`, written as one more field of it; empty where it has none.
    written: bytes
    # The same where a decline was withheld.
    withheld: bytes


def route(paths: Sequence[Path], assigned: Assigned | None) -> Route:
    """The way of an event that may be served by these paths, else by the heuristic."""
    order = (*(_NUMBERS[path] for path in paths if path is not Path.HEURISTIC), HEURISTIC)
    if assigned is None:
        return Route(order, False, b"", b"")  # by position: struct fields
    plain = msgspec.structs.replace(assigned, withheld=None)
    withheld = msgspec.structs.replace(assigned, withheld=Decision.DECLINE)
    return Route(order, assigned.untreated, _field(plain), _field(withheld))


def route_of_file(pipeline: Pipeline) -> Route:
    """The way of an event where the pipeline's file alone says which path serves."""
    policy = Policy(pipeline, ControlState(pipeline=pipeline.name))
    return route(policy.choices[policy.choice("")].paths, None)


def _field(assigned: Assigned) -> bytes:
    return b',"rollout":' + _ENCODE(assigned)


class Router:
    """The routes of one pipeline's events, as of the state that is in force."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._follow(ControlState(pipeline=pipeline.name))

    def _follow(self, state: ControlState) -> None:
        """Make what this state amounts to."""
        self._state = state
        self._policy = policy = Policy(self._pipeline, state)
        self._treated = [
            route(each.paths, each if policy.in_force else None) for each in policy.choices
        ]
        self._untreated = [
            route(each.paths, msgspec.structs.replace(each, untreated=True))
            for each in policy.choices
        ]

    def routes(self, events: Events, state: ControlState) -> list[Route]:
        """Each event's."""
        if state is not self._state:
            self._follow(state)
        policy = self._policy
        if policy.everybody is not None:
            choices = [policy.everybody] * len(events)
        else:
            choices = [policy.choice(key) for key in events.keys]
        routes = [self._treated[choice] for choice in choices]
        if policy.leaves_untreated:
            for index, (id_, amount_minor) in enumerate(
                zip(events.ids, events.amounts_minor, strict=True)
            ):
                if policy.untreated(id_, amount_minor):
                    routes[index] = self._untreated[choices[index]]
        return routes
