"""Who may act: whoever knows the token, from a program, or from a page that has signed in. Pure.

A program sends `Authorization: Bearer TOKEN`, which no other site's page can make a browser send.
A page exchanges the token for a session: a cookie that scripts cannot read and other sites cannot
send, and beside it a word that must be repeated in a header, which other sites cannot read.
"""

import hmac
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from enrichment.console.limits import SESSION_S, SESSIONS_MAX

COOKIE: Final = "enrichment_console"
CSRF_HEADER: Final = "x-enrichment-csrf"
BEARER: Final = "Bearer "


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One page that has signed in, until when, and the word that its actions repeat."""

    session_id: str
    csrf: str
    until_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a request shows of itself: its headers and cookie, and where it was sent."""

    authorization: str = ""
    cookie: str = ""
    csrf: str = ""
    origin: str = ""
    host: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why somebody may not act: an HTTP status, 401 where showing more would help, and words."""

    status: int
    why: str


class Access:
    """The token and the sessions. Without a token nobody may act, whatever they show."""

    def __init__(self, token: str | None, new_secret: Callable[[], str]) -> None:
        """`new_secret` draws what nobody can guess."""
        self._token = None if token is None else token.encode()
        self._new_secret = new_secret
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    @property
    def can_act(self) -> bool:
        """Whether anybody may do anything but read."""
        return self._token is not None

    def sign_in(self, token: str, now_s: float) -> Session | None:
        """A new session for whoever knows the token; the oldest makes room for it."""
        if not self._knows(token):
            return None
        while len(self._sessions) >= SESSIONS_MAX:
            self._sessions.popitem(last=False)
        session = Session(
            session_id=self._new_secret(), csrf=self._new_secret(), until_s=now_s + SESSION_S
        )
        self._sessions[session.session_id] = session
        return session

    def sign_out(self, session_id: str) -> None:
        """End a session."""
        self._sessions.pop(session_id, None)

    def session(self, session_id: str, now_s: float) -> Session | None:
        """The session, unless it has ended."""
        found = self._sessions.get(session_id)
        if found is not None and found.until_s <= now_s:
            self.sign_out(session_id)
            return None
        return found

    def refusal(self, shown: Shown, now_s: float) -> Refusal | None:
        """Why whoever shows this may not act; None where they may."""
        if not self.can_act:
            return Refusal(403, "this console is read-only: ENRICHMENT_CONSOLE_TOKEN is not set")
        if shown.authorization:
            if not shown.authorization.startswith(BEARER):
                return Refusal(401, "the Authorization header should be: Bearer TOKEN")
            if self._knows(shown.authorization.removeprefix(BEARER)):
                return None
            return Refusal(401, "that is not the console's token")
        session = self.session(shown.cookie, now_s)
        if session is None:
            return Refusal(401, "sign in, or send the token as Authorization: Bearer TOKEN")
        if shown.origin and shown.origin.partition("://")[2] != shown.host:
            return Refusal(403, "the request comes from a page of another site")
        if not hmac.compare_digest(shown.csrf.encode(), session.csrf.encode()):
            return Refusal(403, f"{CSRF_HEADER} is not the session's: load the page again")
        return None

    def _knows(self, token: str) -> bool:
        return self._token is not None and hmac.compare_digest(token.encode(), self._token)
