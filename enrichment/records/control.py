"""A control record: what every stage must know at once, the newest per key counting."""

import msgspec


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
    # The path that serves from now on, if this record sets it.
    serve: str = ""
