"""The page and what it is told while it is open: the board, by server-sent events."""

import asyncio
from collections.abc import AsyncIterator
from functools import cache
from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from enrichment.console.desk import Desk
from enrichment.console.limits import STREAMS_MAX
from enrichment.console.problems import Problem

TELL_S: Final = 2.0
PAGE: Final = "console.html"
FILES: Final = {
    PAGE: "text/html; charset=utf-8",
    "console.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    **dict.fromkeys(
        ("console.js", "sections.js", "opened.js", "charts.js", "dom.js"),
        "text/javascript; charset=utf-8",
    ),
}


@cache
def _file(name: str) -> bytes:
    return files("enrichment.console").joinpath("page", name).read_bytes()


async def page(_: Desk, __: Request) -> Response:
    """The page."""
    return Response(_file(PAGE), 200, {"cache-control": "no-cache"}, FILES[PAGE])


async def asset(_: Desk, request: Request) -> Response:
    """What the page is made of."""
    name = str(request.path_params["name"])
    if name not in FILES:
        raise Problem(404, f"there is no {name}")
    return Response(_file(name), 200, {"cache-control": "no-cache"}, FILES[name])


async def board(desk: Desk, _: Request) -> Response:
    """The page at a glance, once."""
    return Response(desk.board(), 200, {"cache-control": "no-store"}, "application/json")


async def stream(desk: Desk, request: Request) -> Response:
    """The page at a glance, again every two seconds, as events named `board`."""
    if request.method == "HEAD":  # which would be told for ever, and shown nothing
        return Response(None, 200, media_type="text/event-stream")
    if desk.kept.streams >= STREAMS_MAX:
        raise Problem(503, f"{STREAMS_MAX} pages follow already: ask /v1/board", retry_after_s=10.0)
    return StreamingResponse(
        _events(desk),
        200,
        {"cache-control": "no-store", "x-accel-buffering": "no"},
        "text/event-stream",
    )


async def _events(desk: Desk) -> AsyncIterator[bytes]:
    desk.kept.streams += 1
    try:
        yield b"retry: 3000\n\n"
        while not desk.ports.stopping():  # or a server that ends would wait for us
            yield b"event: board\ndata: " + desk.board() + b"\n\n"
            await asyncio.sleep(TELL_S)
    finally:
        desk.kept.streams -= 1
