"""What open pages are told: the board, again and again, to no more of them than said."""

import asyncio

import pytest
from starlette.requests import Request
from starlette.responses import StreamingResponse

from enrichment.console import live
from enrichment.console.limits import STREAMS_MAX
from enrichment.console.problems import Problem
from tests.console.desks import Console


def asked(method: str = "GET") -> Request:
    """A request for the stream."""
    return Request({"type": "http", "method": method, "path": "/v1/stream", "headers": []})


def test_a_page_is_told_the_board_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time one event named `board`, one line of JSON; a page that has gone is not counted."""
    monkeypatch.setattr(live, "TELL_S", 0.0)
    desk = Console().desk()

    async def three() -> list[bytes]:
        response = await live.stream(desk, asked())
        assert isinstance(response, StreamingResponse)
        told = response.body_iterator
        found = [bytes(await anext(told)) for _ in range(3)]  # type: ignore[call-overload]
        assert desk.kept.streams == 1
        await told.aclose()  # type: ignore[attr-defined]
        return found

    first, *boards = asyncio.run(three())
    assert first == b"retry: 3000\n\n"
    assert boards == [b"event: board\ndata: " + desk.board() + b"\n\n"] * 2
    assert desk.board().count(b"\n") == 0
    assert desk.kept.streams == 0


def test_no_more_pages_follow_than_said() -> None:
    """Whoever comes then is told to ask instead; a question for the headers alone ends at once."""
    desk = Console().desk()
    desk.kept.streams = STREAMS_MAX
    with pytest.raises(Problem) as caught:
        asyncio.run(live.stream(desk, asked()))
    assert caught.value.status == 503
    response = asyncio.run(live.stream(desk, asked("HEAD")))
    assert not isinstance(response, StreamingResponse)
