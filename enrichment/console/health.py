"""Probes that tell the truth: each answers the question that its asker acts on."""

from starlette.requests import Request
from starlette.responses import Response

from enrichment.console.desk import Desk
from enrichment.console.problems import json_response
from enrichment.console.shapes import Health


async def live(desk: Desk, _: Request) -> Response:
    """Whether a restart would help: only where what follows the topics is gone, or we hang."""
    ok = desk.known.alive()
    trouble = {} if ok else {"gauge": "its thread has ended"}
    return json_response(Health(ok=ok, trouble=trouble), 200 if ok else 503)


async def ready(desk: Desk, _: Request) -> Response:
    """Whether what is shown is of now: not while the broker is away. The cache may be."""
    trouble = desk.known.trouble()
    ok = desk.known.started() and not trouble
    return json_response(Health(ok=ok, trouble=trouble), 200 if ok else 503)


async def startup(desk: Desk, _: Request) -> Response:
    """Whether every topic has been read to its end once."""
    ok = desk.known.started()
    trouble = {} if ok else desk.known.trouble()
    return json_response(Health(ok=ok, trouble=trouble), 200 if ok else 503)
