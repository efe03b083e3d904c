"""The fake of IonQ's API as a process of its own, with a book, and answers that get lost.

It takes no id of ours: what it has accepted is known by the name that a job bears.

    python -P -m tests.faults.ionq_process
"""

import json
import sys
from typing import Any, Final

import msgspec

from tests.faults.invariants import Accepted
from tests.faults.vendor import BOOK, MANNER, Manner
from tests.provider.ionq_service import CREATE, LOST, IonqService, Job

HOWS: Final = {"completed": "completed", "canceled": "cancelled"}


class BookedIonq(IonqService):
    """The service, and what tells it how to behave."""

    def answer(self, line: str, key: str, body: dict[str, Any]) -> tuple[int, Any]:
        """The answer to one call, of the API or of ours."""
        if line == f"PUT {MANNER}":
            self.behave(msgspec.convert(body, Manner))
        if line in (f"PUT {MANNER}", f"GET {MANNER}"):
            return 200, {"lose": len(self.faults[CREATE])}
        if line == f"GET {BOOK}":
            with self._lock:
                return 200, [msgspec.to_builtins(self._entry(job)) for job in self.jobs.values()]
        return super().answer(line, key, body)

    def behave(self, manner: Manner) -> None:
        """As much of a manner as IonQ's fake can have."""
        self.queue_s, self.run_s = manner.queue_s, manner.run_s
        self.faults[CREATE].clear()
        self.fail(CREATE, *[LOST] * manner.lose)

    def _entry(self, job: Job) -> Accepted:
        state = self._state(job)
        return Accepted(
            id=str(job.body.get("name")),
            accepted_s=job.submitted_s,
            ended_s=job.due_s + self.run_s if state in HOWS else 0.0,
            how=HOWS.get(state, ""),
        )


def main() -> None:
    """Serve until standard input ends. Prints the port."""
    service = BookedIonq().start()
    sys.stdout.write(json.dumps({"port": service.port}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
