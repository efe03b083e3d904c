"""A control record: what every stage must know at once, the newest per key counting."""

import msgspec

from enrichment.records.enriched import Path, Stage


class Withdrawal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Features that must not be used any more: by job, by calibration, by time, or all of them.

    A device's calibration that has changed withdraws what was computed under any other: `backend`
    and `current_calibration_id`, with `calibration_id` the last one, for processes of before these
    fields.

    `until_ms` beside an id narrows it to what was computed by then; alone it is a whole pipeline's
    past. One that names nothing at all is no withdrawal and is skipped.
    """

    job_id: str = ""
    calibration_id: str = ""
    # Features computed at or before this wall-clock time are withdrawn.
    until_ms: int = 0
    # Whatever has been computed and whatever will be, until this is lifted: the kill switch.
    everything: bool = False
    # Rings of this backend under another calibration than the one that it has now.
    backend: str = ""
    current_calibration_id: str = ""
    # When that calibration was made: one that is older does not take its place unawares.
    calibrated_ms: int = 0


class Rollout(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far one path is let in, and on what it was: in place of what the pipeline's file says."""

    path: Path
    stage: Stage
    # Of the accounts, chosen by a stable hash; of a canary alone.
    share: float = 0.0
    # The evidence that the gate was asked with; "" where it was not asked.
    evidence_id: str = ""
    # Let in against the gate, or without asking it. What it serves says so.
    override: bool = False


class Compute(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which provider computes, in place of the pipeline file's, and which one is spot-checked."""

    # "" leaves the pipeline file's.
    provider: str = ""
    # One job in `check_every` is computed by this one, too, and held against the simulator: what
    # comes of it is recorded and never used.
    check_provider: str = ""
    check_every: int = 0


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """What ties runs, jobs and evidence together: evidence is of events decided since it began.

    With another pipeline file or score table it is another experiment.
    """

    experiment_id: str
    started_ms: int
    pipeline_version: str
    score_version: str


class Control(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One instruction to every process of a pipeline, with who gave it and why.

    Its key is `pipeline|name`; a pipeline `*` means all of them. A tombstone lifts it.
    """

    pipeline: str
    name: str
    issued_at_ms: int
    issued_by: str
    reason: str
    withdrawal: Withdrawal | None = None
    # The highest path that may serve, whatever the rollout says: `heuristic` is the kill switch.
    serve: str = ""
    rollout: Rollout | None = None
    compute: Compute | None = None
    experiment: Experiment | None = None
