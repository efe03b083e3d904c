"""The table of what is served: routes, limits and the OpenAPI document are all made from it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from enrichment.console import acting, calling, health, live, reading, results, shapes
from enrichment.console.board import Board
from enrichment.console.calls import Call
from enrichment.console.desk import Cost, Desk
from enrichment.console.limits import (
    ID_CHARACTERS_MAX,
    KEY_CHARACTERS_MAX,
    LIST,
    LIST_MAX,
    PRINTABLE,
)

Handler = Callable[[Desk, Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of a request; `where` is path, query or header."""

    name: str
    what: str
    where: str = "path"
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One thing that can be asked. `answer` is a type, or a media type of what is none of ours."""

    method: str
    path: str
    cost: Cost
    handler: Handler
    parameters: tuple[Parameter, ...] = ()
    body: type[Any] | None = None
    answer: type[Any] | str = "application/json"
    # The status that it is answered with where all is well, and what is said by 202 until then.
    status: int = 200
    pending: type[Any] | None = None
    # Statuses beside these and those of `cost` and `body`.
    problems: tuple[int, ...] = ()

    @property
    def summary(self) -> str:
        """What it is, in a line."""
        return (self.handler.__doc__ or "").strip().splitlines()[0]


TEXT: Final = {
    "type": "string",
    "minLength": 1,
    "maxLength": ID_CHARACTERS_MAX,
    "pattern": PRINTABLE,
}


def _path(name: str, what: str) -> Parameter:
    return Parameter(name=name, what=what, schema=TEXT)


def _query(name: str, what: str, schema: dict[str, Any] | None = None) -> Parameter:
    known = schema or {name: of for name, of in TEXT.items() if name != "minLength"}
    return Parameter(name=name, what=what, where="query", schema=known)


_LIMIT: Final = _query(
    "limit",
    "How many are listed",
    {"type": "integer", "minimum": 1, "maximum": LIST_MAX, "default": LIST},
)
_PROBLEM: Final = _query(
    "problem",
    "Which of its problems, from 0; that of the lowest energy where not given",
    {"type": "integer", "minimum": 0, "maximum": reading.PROBLEMS_MAX - 1},
)
_FALLBACK: Final = _query(
    "fallback",
    "Whether the answer of a fallback will do, where the provider that was asked gave none",
    {"type": "boolean", "default": False},
)
_KEY: Final = Parameter(
    name="Idempotency-Key",
    what="The same call under the same key is the same job, however often it is sent",
    where="header",
    schema=TEXT | {"maxLength": KEY_CHARACTERS_MAX},
)
_GROUP: Final = _query(
    "group",
    "Only these groups",
    {"type": "array", "items": {"type": "string", "enum": list(reading.GROUPS)}},
)

ENDPOINTS: Final = (
    Endpoint(
        method="GET", path="/v1/features/{pipeline}/{entity}/{id}", cost=Cost.READ,
        handler=reading.features, answer=shapes.FeaturesShown, problems=(400, 404, 502),
        parameters=(
            _path("pipeline", "The console's pipeline"),
            _path("entity", "A kind of entity, such as account"),
            _path("id", "Its id"),
            _GROUP,
        ),
    ),
    Endpoint(
        method="GET", path="/v1/events/{id}", cost=Cost.LOOKUP, handler=reading.event,
        parameters=(
            _path("id", "The event's id"),
            _query("account", "The event's key, such as its account: found sooner"),
        ),
        problems=(400, 404),
    ),
    Endpoint(
        method="GET", path="/v1/jobs", cost=Cost.READ, handler=reading.jobs,
        parameters=(_query("state", "Only these"), _query("shard", "Only of it"), _LIMIT),
        answer=shapes.JobsListed, problems=(400,),
    ),
    Endpoint(
        method="POST", path="/v1/jobs", cost=Cost.CALL, handler=calling.call, body=Call,
        answer=shapes.CallTaken, status=202, parameters=(_KEY,),
    ),
    # Before the job itself, whose id may have slashes.
    Endpoint(
        method="GET", path="/v1/jobs/{id}/result", cost=Cost.RESULT, handler=calling.result,
        parameters=(_path("id", "The job's id"), _FALLBACK), answer=results.JobResult,
        pending=shapes.JobStanding, problems=(404, 409, 410),
    ),
    Endpoint(
        method="GET", path="/v1/jobs/{id}", cost=Cost.LOOKUP, handler=reading.job,
        parameters=(_path("id", "The job's id"),), answer=shapes.JobShown,
        problems=(400, 404, 409, 502, 504),
    ),
    Endpoint(
        method="GET", path="/v1/drawn/{id}", cost=Cost.LOOKUP, handler=reading.drawn,
        parameters=(_path("id", "The job's id"), _PROBLEM), problems=(400, 404, 409),
    ),
    Endpoint(
        method="GET", path="/v1/circuits/{id}", cost=Cost.LOOKUP, handler=reading.circuit,
        parameters=(_path("id", "The job's id"), _PROBLEM), answer="image/svg+xml",
        problems=(400, 404, 409),
    ),
    Endpoint(
        method="GET", path="/v1/cases", cost=Cost.READ, handler=reading.cases,
        parameters=(
            _query("status", "Only open, confirmed or dismissed ones"),
            _query("member", "Only of this account, or tied by this device"),
            _LIMIT,
        ),
        answer=shapes.CasesListed, problems=(400,),
    ),
    Endpoint(
        method="GET", path="/v1/cases/{id}", cost=Cost.READ, handler=reading.case,
        parameters=(_path("id", "The case's id"),), answer=shapes.CaseShown,
        problems=(400, 404),
    ),
    Endpoint(method="GET", path="/v1/rollout", cost=Cost.READ, handler=reading.rollout),
    Endpoint(
        method="GET", path="/v1/evidence", cost=Cost.LOOKUP, handler=reading.evidence,
        problems=(404,),
    ),
    Endpoint(
        method="GET", path="/v1/flow", cost=Cost.READ, handler=reading.flow,
        answer=shapes.FlowShown,
    ),
    Endpoint(
        method="GET", path="/v1/board", cost=Cost.READ, handler=live.board, answer=Board
    ),
    Endpoint(
        method="GET", path="/v1/stream", cost=Cost.READ, handler=live.stream,
        answer="text/event-stream", problems=(503,),
    ),
    Endpoint(
        method="POST", path="/v1/orders", cost=Cost.ACTION, handler=acting.order,
        body=shapes.GiveOrder, problems=(404,),
    ),
    Endpoint(
        method="POST", path="/v1/verdicts", cost=Cost.ACTION, handler=acting.verdict,
        body=shapes.GiveVerdict,
    ),
    Endpoint(
        method="POST", path="/v1/rollout/kill", cost=Cost.ACTION, handler=acting.kill,
        body=shapes.PullSwitch,
    ),
    Endpoint(
        method="POST", path="/v1/rollout/restore", cost=Cost.ACTION, handler=acting.restore,
        body=shapes.Restore,
    ),
    Endpoint(
        method="GET", path="/session", cost=Cost.READ, handler=acting.session,
        answer=shapes.SessionShown,
    ),
    Endpoint(
        method="POST", path="/session", cost=Cost.SIGN_IN, handler=acting.sign_in,
        body=shapes.SignIn, answer=shapes.SessionShown, problems=(401, 403),
    ),
    Endpoint(
        method="DELETE", path="/session", cost=Cost.READ, handler=acting.sign_out,
        answer=shapes.SessionShown,
    ),
    Endpoint(
        method="GET", path="/healthz/live", cost=Cost.FREE, handler=health.live,
        answer=shapes.Health,
    ),
    Endpoint(
        method="GET", path="/healthz/ready", cost=Cost.FREE, handler=health.ready,
        answer=shapes.Health,
    ),
    Endpoint(
        method="GET", path="/healthz/startup", cost=Cost.FREE, handler=health.startup,
        answer=shapes.Health,
    ),
)  # fmt: skip
