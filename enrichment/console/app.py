"""The application: the table of endpoints behind one gate that every request passes."""

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from confluent_kafka import KafkaException
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from enrichment import __version__
from enrichment.console import live
from enrichment.console.acting import may_act
from enrichment.console.desk import Cost, Desk
from enrichment.console.endpoints import ENDPOINTS, Endpoint
from enrichment.console.limits import QUERY_BYTES_MAX
from enrichment.console.openapi import document
from enrichment.console.problems import Problem, json_response, response_of
from enrichment.console.requests import client_of
from enrichment.telemetry.log import logger

PROBES: Final = "/healthz/"

HEADERS: Final = (
    # Nothing but our own files: no script or style within the page, nobody's frame, no form.
    (
        b"content-security-policy",
        (
            b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
            b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)

PAGE: Final = (
    Endpoint(method="GET", path="/", cost=Cost.READ, handler=live.page),
    Endpoint(method="GET", path="/page/{name}", cost=Cost.READ, handler=live.asset),
)


def application(desk: Desk, hosts: Iterable[str]) -> ASGIApp:
    """The console as an ASGI application. `hosts` are the names that it may be called by."""

    async def openapi(_: Desk, __: Request) -> Response:
        return json_response(document(ENDPOINTS, __version__))

    described = Endpoint(method="GET", path="/openapi.json", cost=Cost.READ, handler=openapi)
    by_path: dict[str, dict[str, Endpoint]] = {}
    for one in (*ENDPOINTS, *PAGE, described):
        by_path.setdefault(one.path, {})[one.method] = one
    # One route for each path: it knows all methods that are allowed.
    routes = [
        Route(_starlette(path), _called(desk, of), methods=list(of)) for path, of in by_path.items()
    ]
    inner = Starlette(
        routes=routes,
        exception_handlers={
            Problem: _told,
            HTTPException: _told,
        },
    )
    inner.router.redirect_slashes = False
    return Gate(inner, frozenset(hosts))


def _starlette(path: str) -> str:
    """The path with its last parameter as long as may be: ids have slashes."""
    return re.sub(r"\{(\w+)\}$", r"{\1:path}", path)


def _called(desk: Desk, of: dict[str, Endpoint]) -> Callable[[Request], Awaitable[Response]]:
    """A path's endpoints by method, behind their limits, and the token where they do something."""

    async def endpoint(request: Request) -> Response:
        one = of["GET" if request.method == "HEAD" else request.method]
        desk.admit(one.cost, client_of(request))
        if one.cost in {Cost.ACTION, Cost.CALL}:
            may_act(desk, request)
        try:
            return await one.handler(desk, request)
        except (Problem, HTTPException):
            raise
        except KafkaException as error:
            raise Problem(502, f"Kafka does not answer: {error.args[0].str()}") from error
        except Exception as error:
            # What went wrong stays here: its words may hold what is nobody's business.
            logger().exception("a request could not be answered", path=one.path)
            raise Problem(500, "a mistake of ours: see the console's log") from error

    return endpoint


async def _told(request: Request, error: Exception) -> Response:
    """Whatever was not answered as asked, as a problem."""
    if isinstance(error, Problem):
        return response_of(error, request.url.path)
    assert isinstance(error, HTTPException)  # noqa: S101  # it handles no other
    response = response_of(Problem(error.status_code, error.detail), request.url.path)
    response.headers.update(error.headers or {})  # which methods are allowed
    return response


class Gate:
    """What every request passes before it is looked at: its host and its size; and our headers.

    A page that has a name of its own resolved to our address could read us as its own server: we
    answer only to names that we know. Probes come by address, and learn nothing.
    """

    def __init__(self, inner: ASGIApp, hosts: frozenset[str]) -> None:
        self._inner, self._hosts = inner, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        problem = self._refused(scope)
        if problem is None:
            await self._inner(scope, receive, sent)
        else:
            await response_of(problem, str(scope["path"]))(scope, receive, sent)

    def _refused(self, scope: Scope) -> Problem | None:
        if len(scope.get("query_string", b"")) > QUERY_BYTES_MAX:
            return Problem(414, f"a query of more than {QUERY_BYTES_MAX} bytes")
        if "*" in self._hosts or str(scope["path"]).startswith(PROBES):
            return None
        named = [text for name, text in scope["headers"] if name == b"host"]
        host = _name_of(named[0].decode("latin-1")) if len(named) == 1 else ""
        if host in self._hosts:
            return None
        return Problem(421, "not a name of this console: set ENRICHMENT_CONSOLE_HOSTS")


def _name_of(host: str) -> str:
    """A Host header without its port, in lower case; an IPv6 address without its brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()
