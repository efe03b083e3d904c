"""A feature update: one group of one entity's features, and what they were computed from.

The hot path keeps many of them: the collector of cycles need not look at them (`gc`).
"""

import msgspec


class Source(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """How a group of features came to be, so that it can be computed again."""

    # "window" for classical graph features, else the provider's name.
    backend: str
    micro_batch_id: str
    job_id: str = ""
    problem_id: str = ""
    circuit_hash: str = ""
    shots: int = 0
    seed: int = 0
    calibration_id: str = ""
    # The job whose samples these are, where it is an earlier one: see `JobEvent.kept`.
    kept_job_id: str = ""
    # How far the circuit's samples of this problem are from its twins': the energy gap, the mean
    # |difference of membership|, the distance of the energy histograms, and the same figures as
    # `random_…` for the null. For lineage: the feature cache does without.
    differences: dict[str, float] = {}
    # The calibration that made `ring_probability` of the estimates, where one did.
    probability_version: str = ""


class FeatureUpdate(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One group of features of one entity; the feature cache holds it without the differences.

    `version` stays the first field of the encoded value: the cache's guard reads it by pattern.
    `values` are facts about the subgraph; `estimates` are what each sampler made of it, by path
    (`quantum`, `classical`, `random`). `subgraph` is the hash of what they describe; in the group
    `graph` it is "" for an entity that lies in no candidate subgraph.
    """

    version: int
    pipeline: str
    entity: str
    id: str
    group: str
    subgraph: str
    # The largest event time that the values know of, and the wall clock when they were computed.
    event_time_ms: int
    computed_at_ms: int
    values: dict[str, float] = {}
    estimates: dict[str, dict[str, float]] = {}
    source: Source | None = None
