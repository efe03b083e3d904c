"""What a request says, within its bounds: ids, figures, bodies."""

import asyncio
import re
from typing import Final, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from enrichment.console.limits import (
    BODY_BYTES_MAX,
    BODY_S,
    DEPTH_MAX,
    ID_CHARACTERS_MAX,
    LIST,
    LIST_MAX,
    PRINTABLE,
)
from enrichment.console.problems import Problem
from enrichment.stream.nesting import nesting_depth

T = TypeVar("T")
MEDIA_TYPE: Final = "application/json"
_is_printable: Final = re.compile(PRINTABLE).search


def client_of(request: Request) -> str:
    """Who asks, by address: behind a proxy that is the proxy, and all share its rate."""
    return request.client.host if request.client is not None else "unknown"


def id_of(request: Request, name: str) -> str:
    """An id in the path. Raises Problem for what can be nobody's."""
    text = str(request.path_params[name])
    if not text:
        raise Problem(404, f"the path ends before the {name}")
    if len(text) > ID_CHARACTERS_MAX:
        raise Problem(400, f"{name}: at most {ID_CHARACTERS_MAX} characters, found {len(text)}")
    if not _is_printable(text):
        raise Problem(400, f"{name}: no control characters")
    return text


def text_of(request: Request, name: str) -> str:
    """A query parameter, or ""."""
    text = request.query_params.get(name, "")
    if len(text) > ID_CHARACTERS_MAX or not _is_printable(text):
        raise Problem(400, f"{name}: at most {ID_CHARACTERS_MAX} characters, none of control")
    return text


def number_of(request: Request, name: str, default: int, highest: int, *, lowest: int = 0) -> int:
    """A whole number of the query. Raises Problem where it is none, or out of bounds."""
    text = request.query_params.get(name)
    if text is None:
        return default
    # Longer ones are out of bounds, whatever they are; and int() takes underscores and blanks.
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or not (
        lowest <= int(text) <= highest
    ):  # fmt: skip
        raise Problem(400, f"{name}: wanted a whole number from {lowest} to {highest}")
    return int(text)


def limit_of(request: Request) -> int:
    """How many are to be listed."""
    return number_of(request, "limit", LIST, LIST_MAX, lowest=1)


def flag_of(request: Request, name: str) -> bool:
    """A yes or no of the query; no where it is not there. Raises Problem where it is neither."""
    text = request.query_params.get(name, "false")
    if text not in {"true", "false"}:
        raise Problem(400, f"{name}: wanted true or false")
    return text == "true"


def header_of(request: Request, name: str, characters_max: int) -> str | None:
    """A header's text, None where there is none. Raises Problem for an empty or too long one."""
    text = request.headers.get(name)
    if text is not None and not (0 < len(text) <= characters_max and _is_printable(text)):
        raise Problem(400, f"{name}: wanted 1 to {characters_max} characters, none of control")
    return text


async def body_of(request: Request, kind: type[T], *, bytes_max: int = BODY_BYTES_MAX) -> T:
    """The body as that type. Raises Problem where it is too large, too slow, or something else."""
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if sent != MEDIA_TYPE:
        # A form of another site can send neither this nor our header: see `access`.
        raise Problem(415, f"wanted {MEDIA_TYPE}")
    raw = await _raw(request, bytes_max)
    if nesting_depth(raw) > DEPTH_MAX:
        raise Problem(400, f"nested deeper than {DEPTH_MAX}")
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.ValidationError as error:
        raise Problem(422, str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, f"not JSON: {error}") from error


async def _raw(request: Request, bytes_max: int) -> bytes:
    raw = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                raw += part
                if len(raw) > bytes_max:
                    raise Problem(413, f"a body of more than {bytes_max} bytes")
    except TimeoutError:
        raise Problem(408, f"the body did not come within {BODY_S:.0f} s") from None
    except ClientDisconnect:
        raise Problem(400, "the body ended early") from None
    return bytes(raw)
