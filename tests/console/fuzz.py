"""The console's API, fuzzed by its own OpenAPI document: `make fuzz-api`, a few minutes.

Twice: the console of a stream, and that of a pipeline of calls. What is looked for is an answer
that the document does not tell of, a failure of the server first of all. schemathesis is in an
environment of its own, and its command is the first argument.
"""

import subprocess
import sys
import time
import urllib.request
from typing import Final

from enrichment.lab.ports import free_port
from tests.console.desks import TOKEN

CHECKS: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
EXAMPLES: Final = 50  # for each endpoint and phase: some 1,900 calls in all
ENDLESS: Final = "/v1/stream"  # never ends, and is followed by tests of its own
START_S: Final = 20.0


def fuzz(schemathesis: str, *kind: str) -> int:
    """Fuzz a console that is started for it; 0 where nothing was found."""
    port = free_port()
    with subprocess.Popen([sys.executable, "-m", "tests.console.served", str(port), *kind]) as one:
        try:
            _await(f"http://127.0.0.1:{port}/healthz/live")
            command = [
                schemathesis, "run", f"http://127.0.0.1:{port}/openapi.json",
                "--header", f"Authorization: Bearer {TOKEN}", "--checks", ",".join(CHECKS),
                "--max-examples", str(EXAMPLES), "--exclude-path", ENDLESS, "--no-color",
            ]  # fmt: skip
            return subprocess.run(command, check=False).returncode
        finally:
            one.terminate()


def _await(url: str) -> None:
    give_up_s = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=1):  # noqa: S310  # on this machine
                return
        except OSError:
            assert time.monotonic() < give_up_s, f"{url} does not answer"
            time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(max(fuzz(sys.argv[1]), fuzz(sys.argv[1], "calls")))
