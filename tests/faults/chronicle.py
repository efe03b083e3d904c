"""The history of one trial: journals of its workers, of its source, and of two readers beside them.

One reader sees what is committed, the other all that the broker holds, so that what workers were
told of their transactions can be held against what became of them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from enrichment.stream.topics import (
    CASES,
    CHANGES,
    CONTROL,
    FEATURES,
    JOB_EVENTS,
    JOBS,
    MICRO_BATCHES,
)
from tests.faults.history import check
from tests.faults.invariants import Finding
from tests.faults.journal import read_journals
from tests.faults.observed import ends_of
from tests.faults.recording import Reading

NAME: Final = "kafka history"
"""What the table calls the check."""

TOPICS: Final = (MICRO_BATCHES, JOBS, JOB_EVENTS, FEATURES, CASES)
SINGLE: Final = (CONTROL, CHANGES)  # of one partition
COMPACTED: Final = frozenset({JOBS, FEATURES, CASES, CONTROL})
END_S: Final = 40.0  # longer than an orphaned transaction may hide the end


class Chronicle:
    """Two readers from the topics' ends of now on, and the folder in which all keep journals."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self.folder = folder
        self._bootstrap = bootstrap
        self._starts: Mapping[tuple[str, int], int] = _ends(bootstrap)
        self._readers = [
            Reading(bootstrap, self._starts, folder, committed=committed)
            for committed in (True, False)
        ]
        self._open = True

    def close(self) -> None:
        """Read no more. Raises what has ended a reader before."""
        if self._open:
            self._open = False
            for reader in self._readers:
                reader.stop()

    def finding(self) -> Finding:
        """Wait until both have read all there is; what is wrong with what everybody noted."""
        ends = _ends(self._bootstrap)
        for reader in self._readers:
            if not reader.await_end(ends, END_S):
                raise TimeoutError(f"the history's readers did not reach {ends} in {END_S:.0f} s")
        self.close()
        history = read_journals(self.folder)
        wrong = tuple(
            f"{each.kind.value}: {each.topic} {each.partition}:{each.offset} {each.detail}"
            for each in check(history, compacted=COMPACTED)
        )
        return Finding(checked=len(history), violations=wrong)


def _ends(bootstrap: str) -> dict[tuple[str, int], int]:
    """The high watermarks of all that workers write to."""
    return ends_of(bootstrap, *TOPICS) | ends_of(bootstrap, *SINGLE, partitions=1)
