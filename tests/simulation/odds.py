"""How much trouble a seed has, of each kind: some kinds not at all, so that others can be seen.

Drawn anew for every seed (swarm testing: A. Groce et al., "Swarm Testing", ISSTA 2012).
"""

from dataclasses import dataclass, fields
from random import Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Odds:
    """Probabilities by call or by turn, and how long things last."""

    # By call: that the process stops there; and if it does, that it is dead.
    stop: float
    deadly: float
    pauses_ms: tuple[int, ...]
    # By call of a client of Kafka: that it fails.
    fail: float
    # By provider call: that it is never heard of, that its answer is lost, that it comes late.
    lost: float
    unanswered: float
    late: float
    # By program: that it fails, that its result is no result, that it never ends.
    failed: float
    garbage: float
    endless: float
    refused: float
    # Of seconds: that partitions are dealt anew, topics compacted, clocks jump, Redis has trouble.
    dealt: float
    compacted: float
    jumps: float
    redis: float
    # Of closes: that they come twice.
    repeated: float
    # Of what people say: that it is an order about a job.
    ordered: float

    @classmethod
    def none(cls) -> "Odds":
        """No trouble at all, but what a test makes itself."""
        shares = {one.name: 0.0 for one in fields(cls) if one.name != "pauses_ms"}
        return cls(pauses_ms=(1,), **shares)

    @classmethod
    def of(cls, draw: Random) -> "Odds":
        """A mixture of that seed's own."""

        def one_of(*shares: float) -> float:
            return draw.choice(shares)

        return cls(
            stop=one_of(0, 0.001, 0.003, 0.01),
            deadly=one_of(0, 0.3, 0.7, 1),
            pauses_ms=draw.choice([(100, 1_000), (1_000, 7_000), (50, 500, 7_000, 12_000)]),
            fail=one_of(0, 0, 0.01, 0.05),
            lost=one_of(0, 0, 0.05, 0.2),
            unanswered=one_of(0, 0, 0.05, 0.2),
            late=one_of(0, 0, 0.1, 0.3),
            failed=one_of(0, 0.1, 0.3, 0.8),
            garbage=one_of(0, 0, 0.1),
            endless=one_of(0, 0, 0.1, 0.5),
            refused=one_of(0, 0, 0.1, 0.3),
            dealt=one_of(0, 0, 0.05, 0.3),
            compacted=one_of(0, 0.1, 0.5),
            jumps=one_of(0, 0, 0, 0.05, 0.2),
            redis=one_of(0, 0, 0.05, 0.2),
            repeated=one_of(0, 0.1, 0.3),
            ordered=one_of(0, 0, 0.3, 0.7),
        )
