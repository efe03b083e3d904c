"""A schema registry over HTTP, as small as the endpoints that our client asks for.

Apicurio and Confluent's own take seconds to start and 150 MB to fetch: `scripts/registry-check`
runs the same tests against a real Apicurio, and this stands in for it in everyday runs.
"""

import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import unquote, urlsplit

USER: Final = "registrar"
PASSWORD: Final = "pass:word"  # noqa: S105  # of this server alone


class _Handler(BaseHTTPRequestHandler):
    """The endpoints; state is the server's."""

    protocol_version = "HTTP/1.1"
    server: "_Server"

    def do_POST(self) -> None:
        """Register under `/subjects/S/versions`, look up under `/subjects/S`."""
        parts = self._parts()
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._allowed():
            return
        subject = unquote(parts[1])
        with self.server.lock:
            versions = self.server.subjects.setdefault(subject, {})
            if len(parts) == 2:
                id_ = versions.get(body["schema"])
                if id_ is None:
                    self._answer(404, {"error_code": 40403, "message": "Schema not found"})
                else:
                    self._answer(200, self._registered(subject, id_, body))
                return
            if body["schema"] not in versions:
                if versions and self.server.levels.get(subject) == "BACKWARD":
                    old, new = json.loads(list(versions)[-1]), json.loads(body["schema"])
                    if changed := _changed(old, new):
                        self._answer(409, {"error_code": 409, "message": f"changed: {changed}"})
                        return
                versions[body["schema"]] = self.server.next_id()
            self._answer(200, self._registered(subject, versions[body["schema"]], body))

    def do_PUT(self) -> None:
        """Set a subject's compatibility under `/config/S`."""
        subject = unquote(self._parts()[1])
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._allowed():
            self.server.levels[subject] = body["compatibility"]
            self._answer(200, {"compatibility": body["compatibility"]})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # so named
        """Say nothing."""

    def _registered(self, subject: str, id_: int, body: dict[str, Any]) -> dict[str, Any]:
        return {"subject": subject, "id": id_, "version": 1} | body

    def _parts(self) -> list[str]:
        return urlsplit(self.path).path.strip("/").split("/")

    def _allowed(self) -> bool:
        wanted = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.server.guarded and self.headers.get("Authorization") != f"Basic {wanted}":
            self._answer(401, {"error_code": 401, "message": "Unauthorized"})
            return False
        return True

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class _Server(ThreadingHTTPServer):
    """What is registered: subject -> schema's text -> id."""

    daemon_threads = True

    def __init__(self, *, guarded: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.guarded = guarded
        self.lock = threading.Lock()
        self.subjects: dict[str, dict[str, int]] = {}
        self.levels: dict[str, str] = {}
        self._last = 0

    def next_id(self) -> int:
        """An id that no schema has yet."""
        self._last += 1
        return self._last


def _changed(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Fields that are not what they were: all that this registry takes for a break."""
    after = new["properties"]
    return [name for name, each in old["properties"].items() if after.get(name, each) != each]


@contextmanager
def running_registry(*, guarded: bool = False) -> Iterator[tuple[str, _Server]]:
    """A registry on a free port while the block runs; guarded, it asks for USER and PASSWORD."""
    server = _Server(guarded=guarded)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
