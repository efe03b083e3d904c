"""A micro-batch: what one closed window of one shard left to solve, and why it closed."""

from enum import Enum
from hashlib import sha256
from typing import Final

import msgspec

SUBGRAPH_HASH_DIGITS: Final = 16

TRACES_MAX: Final = 16
"""Sampled events whose trace a micro-batch carries on: 1 kB, and as many links of its job's."""


_ENCODER: Final = msgspec.json.Encoder()


class Cause(Enum):
    """Why a window closed; a caller's micro-batch is of no window, and closes with its call."""

    WATERMARK = "watermark"
    COUNT = "count"
    IDLE = "idle"
    MAXIMUM_AGE = "maximum_age"
    CALL = "call"


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """A device, beneficiary or other attribute that ties several nodes of a problem together."""

    entity: str
    id: str
    # Indices into the problem's nodes, ascending.
    members: tuple[int, ...]
    events: int
    amount_minor: int


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate subgraph: its nodes and the quantised adjacency that a model is built from.

    `weights` holds (i, j, sixteenths) with i < j and 1 <= sixteenths <= 16: the clipped adjacency
    A_ij = sixteenths / 16. `subgraph` is a hash of nodes, weights and known-bad flags: two problems
    have the same hash exactly when they give the same model.
    """

    problem_id: str
    subgraph: str
    entity: str
    nodes: tuple[str, ...]
    weights: tuple[tuple[int, int, int], ...]
    # Indices of nodes that outcomes have confirmed as bad, ascending.
    known_bad: tuple[int, ...] = ()
    shared: tuple[Shared, ...] = ()
    amount_minor: int = 0
    first_seen_ms: int = 0
    last_seen_ms: int = 0


def subgraph_hash(
    nodes: tuple[str, ...], weights: tuple[tuple[int, int, int], ...], known_bad: tuple[int, ...]
) -> str:
    """The hash of exactly what a model is built from: equal hashes, equal models."""
    return sha256(_ENCODER.encode((nodes, weights, known_bad))).hexdigest()[:SUBGRAPH_HASH_DIGITS]


class MicroBatch(msgspec.Struct, frozen=True, kw_only=True):
    """One closed window [start, end) of one shard.

    Its identity is (pipeline, shard, start, sequence). The record is also the log of closes: cause
    and input offsets are facts that a rebuild follows and never decides again. Two contents under
    one identity are a conflict.

    A caller's (`Cause.CALL`) covers no digests: its shard is the call's own, it begins at 0 and
    ends when it was accepted.
    """

    micro_batch_id: str
    pipeline: str
    shard: str
    window_start_ms: int
    window_end_ms: int
    sequence: int
    cause: Cause
    watermark_ms: int
    closed_at_ms: int
    content_hash: str
    events: int
    # (partition, first offset, last offset) of the digests that this close covers.
    digest_offsets: tuple[tuple[int, int, int], ...]
    problems: tuple[Problem, ...] = ()
    # Why candidate subgraphs were left out, and how many: size, hub, unchanged, cap.
    left_out: dict[str, int] = {}
    correlation_id: str = ""
    # The last digest offset that had been read, of whatever shard, when the window closed: a
    # rebuild follows the close at this place. Not known (-1) in records older than this field.
    read_through: int = -1
    # `traceparent` of sampled events in the window, the first that its digests name. No part of
    # the content: whoever derives the micro-batch again need not find the same.
    traces: tuple[str, ...] = ()

    @property
    def version(self) -> int:
        """The version that every feature computed from this micro-batch carries.

        It orders closes of one shard, and stays below 2**53 so that JSON and Lua keep it exact.
        """
        return feature_version(self.window_start_ms, self.sequence)


SEQUENCE_MAX = 999  # three decimal digits of the version are the sequence


def feature_version(window_start_ms: int, sequence: int) -> int:
    """The version of features that were computed at one close."""
    return window_start_ms * 1000 + min(sequence, SEQUENCE_MAX)


def version_of(micro_batch_id: str) -> int:
    """The version that the identity of a close stands for. Raises ValueError for no identity."""
    _, window_start_ms, sequence = micro_batch_id.rsplit("|", 2)
    return feature_version(int(window_start_ms), int(sequence))


def micro_batch_id(pipeline: str, shard: str, window_start_ms: int, sequence: int) -> str:
    """The identity of a close, as text."""
    return f"{pipeline}|{shard}|{window_start_ms}|{sequence}"
