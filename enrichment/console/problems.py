"""What went wrong with a request, as `application/problem+json` (RFC 9457)."""

from http import HTTPStatus
from typing import Any, Final

import msgspec
from starlette.responses import Response

MEDIA_TYPE: Final = "application/problem+json"


class Problem(Exception):  # noqa: N818  # named as RFC 9457 names it
    """A request that is not answered as asked: a status, and what to do, in one line."""

    def __init__(self, status: int, detail: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.retry_after_s = status, detail, retry_after_s


class ProblemBody(msgspec.Struct, frozen=True, kw_only=True):
    """A problem as it is sent. `type` is about:blank: the status says what kind it is."""

    title: str
    status: int
    detail: str
    instance: str = ""
    type: str = "about:blank"


def response_of(problem: Problem, instance: str) -> Response:
    """The response that says so."""
    body = ProblemBody(
        title=HTTPStatus(problem.status).phrase,
        status=problem.status,
        detail=problem.detail,
        instance=instance,
    )
    headers = {"cache-control": "no-store"}
    if problem.retry_after_s is not None:
        headers["retry-after"] = str(max(1, round(problem.retry_after_s + 0.5)))
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    return Response(msgspec.json.encode(body), problem.status, headers, MEDIA_TYPE)


def json_response(value: Any, status: int = 200) -> Response:
    """A value as JSON, not to be kept by anybody: it is of now."""
    return Response(
        msgspec.json.encode(value),
        status,
        {"cache-control": "no-store"},
        "application/json",
    )
