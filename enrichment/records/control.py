"""A control record: what every stage must know at once, the newest per key counting."""

import msgspec


class Withdrawal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Features that must not be used any more: by job, by calibration, or all of a pipeline."""

    job_id: str = ""
    calibration_id: str = ""
    # Features computed at or before this wall-clock time are withdrawn.
    until_ms: int = 0


class Control(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One instruction to every process of a pipeline, with who gave it and why."""

    pipeline: str
    name: str
    issued_at_ms: int
    issued_by: str
    reason: str
    withdrawal: Withdrawal | None = None
    # The path that serves from now on, if this record sets it.
    serve: str = ""
