"""The ledger as commands read it."""

from dataclasses import dataclass

import msgspec
import pytest

from enrichment.cli import jobs_read
from enrichment.settings import Settings
from tests.sample.entries import job


@dataclass(frozen=True)
class Record:
    """A message of the ledger."""

    name: str
    payload: bytes | None

    def key(self) -> bytes:
        """The job's id."""
        return self.name.encode()

    def value(self) -> bytes | None:
        """The entry."""
        return self.payload

    def topic(self) -> str:
        """Where it is."""
        return "sampling.jobs"

    def partition(self) -> int:
        """In which partition."""
        return 3

    def offset(self) -> int:
        """And at which offset."""
        return 17


def test_a_broken_entry_keeps_nobody_from_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is left out, and said with its address; every other job is found."""
    good = msgspec.json.encode(job("good", "p"))
    records = [
        Record("half", good[:40]),
        Record("none", b'{"job_id": "none"}'),
        Record("good", good),
    ]
    monkeypatch.setattr(jobs_read, "_scanned", lambda *_: iter(records))
    monkeypatch.setattr(jobs_read, "partitions_of", lambda *_: 4)
    assert list(jobs_read.placed(Settings())) == ["good"]
    said = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in said] == ["sampling.jobs/3/17"] * 2
