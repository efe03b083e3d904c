"""What every peer written in Python is told on its command line."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

STREAM: Final = "payments"
COMMIT_S: Final = 0.1  # as Kafka Streams' exactly-once has it; libraries' own are 2.8 to 5 s


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A peer's servers, topics and batches; `redis_url` is "" where it only passes events on."""

    bootstrap: str
    group: str
    source: str
    target: str
    batch_events: int
    batch_ms: int
    redis_url: str
    exactly_once: bool

    def words(self) -> list[str]:
        """The command line's arguments."""
        words = []
        for name in ("bootstrap", "group", "source", "target", "batch_events", "batch_ms"):
            words += [f"--{name.replace('_', '-')}", str(getattr(self, name))]
        if self.redis_url:
            words += ["--redis-url", self.redis_url]
        return [*words, "--exactly-once"] if self.exactly_once else words

    @classmethod
    def parse(cls, description: str | None, arguments: Sequence[str] | None = None) -> "Told":
        """What `words` gave."""
        parser = argparse.ArgumentParser(description=description)
        for name in ("--bootstrap", "--group", "--source", "--target"):
            parser.add_argument(name, required=True)
        parser.add_argument("--batch-events", type=int, required=True)
        parser.add_argument("--batch-ms", type=int, required=True)
        parser.add_argument("--redis-url", default="")
        parser.add_argument("--exactly-once", action="store_true")
        return cls(**vars(parser.parse_args(arguments)))
