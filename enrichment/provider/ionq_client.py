"""The client of IonQ's API, made fit to pay with: a call is one request, and it ends.

`cirq_ionq`'s own repeats every call, a POST that makes a job too, for an hour by default where it
was not answered or answered by 429, 500, 502, 503 or 52x. Told to try for no time at all it raises
a TimeoutError at the first such answer, which says neither the status nor whether the request was
ever sent; and it gives no request a time-out. All of that matters before something is paid twice.
"""

from collections.abc import Callable
from functools import partial
from types import FunctionType, SimpleNamespace
from typing import Any, Final

import requests
from cirq_ionq.ionq_client import _IonQClient, _is_retriable
from urllib3.exceptions import NewConnectionError

from enrichment.provider.remote import CALL_S

TEXT_MAX: Final = 400
"""Characters of an answer or an error that are passed on: a refused circuit comes back in whole."""


class UnsentError(Exception):
    """A request that was never sent: there was no connection to send it over."""


class UnansweredError(Exception):
    """A request that was sent, or may have been, to which no whole answer came."""


class RepeatableStatusError(Exception):
    """An answer for which the client would send the request again."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"status {status}: {text}")
        self.status_code = status


class Client(_IonQClient):  # type: ignore[misc]  # an untyped package
    """`cirq_ionq`'s client, by which each call is one request with a time-out, come what may."""

    def __init__(self, url: str, api_key: str) -> None:
        """Talk to the API at `url`, of which the client keeps scheme, host and port."""
        super().__init__(remote_host=url, api_key=api_key, max_retry_seconds=0)
        # By it the client chooses where results are; we make no other jobs.
        self.batch_mode = True
        # A redirected POST would be a second one, and take the key elsewhere.
        bounds = {"timeout": CALL_S, "allow_redirects": False}
        self._bounded = SimpleNamespace(
            get=partial(requests.get, **bounds),
            post=partial(requests.post, **bounds),
            put=partial(requests.put, **bounds),
        )

    def _make_request(self, request: Any, json: dict[str, Any]) -> requests.Response:
        """Make the request once. Raises what the client does, or one of this module's errors."""
        return super()._make_request(partial(_once, self._within_bounds(request)), json)

    def _within_bounds(self, request: Any) -> Callable[[], requests.Response]:
        """Return the client's request with our bounds: it calls `requests.post(...)` by name."""
        names = {**request.__globals__, "requests": self._bounded}
        return FunctionType(request.__code__, names, closure=request.__closure__)


def _once(request: Callable[[], requests.Response]) -> requests.Response:
    """Return the response, or raise what leaves the client nothing to repeat."""
    try:
        response = request()
    except requests.RequestException as error:
        kind = UnsentError if _unsent(error) else UnansweredError
        raise kind(f"{type(error).__name__}: {error}") from error
    if _is_retriable(response.status_code, response.request.method):
        raise RepeatableStatusError(response.status_code, response.text[:TEXT_MAX])
    return response


def _unsent(error: requests.RequestException) -> bool:
    """Return whether it is certain that nothing was sent."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, requests.ConnectionError) and isinstance(reason, NewConnectionError)
