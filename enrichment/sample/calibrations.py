"""What a device's calibration withdraws: whatever was computed under another. Pure.

One control record for each backend names the calibration that the device has now; rings of that
backend under any other are withdrawn by it, at every read and without being rewritten. It is the
memory of the last known calibration too: whoever starts after a change, however long after, finds
the former one standing and replaces it. Written by any worker it has the same key, so that a change
is one instruction however many workers see it.

Workers ask a device what it is at their own times, and may see a change a minute apart. So a newer
calibration (by when it was made) is taken at once; one that is not newer only after a worker has
been told of it, and of no other, for longer than what it is told may be old. A device that goes
back to an earlier calibration is followed by this, and a worker that is behind changes nothing.
"""

from dataclasses import dataclass
from typing import Final

from enrichment.provider.contract import Description
from enrichment.records import Control, Withdrawal

HAND: Final = "enrichment sample"
"""Who writes the records: an operator who lists them sees that no person did."""

SETTLE_MS: Final = 150_000
"""Twice and a half what a description may be old (`google_processor.LOOK_S`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The calibration that a device says it has, and since when one worker has been told so."""

    backend: str
    calibration_id: str
    calibrated_ms: int
    since_ms: int


def control_name(backend: str) -> str:
    """The name of a backend's record, the same whoever writes it."""
    return f"calibration.{backend}"


def seen(former: Seen | None, described: Description, now_ms: int) -> Seen | None:
    """What is known after a description: the former, while that says the same or nothing."""
    named = described.calibration_id
    if not named or (former is not None and former.calibration_id == named):
        return former
    return Seen(
        backend=described.name,
        calibration_id=named,
        calibrated_ms=described.calibration_time_ms,
        since_ms=now_ms,
    )


def current_of(standing: Control | None) -> str:
    """The calibration that a record names, "" where there is none."""
    if standing is None or standing.withdrawal is None:
        return ""
    return standing.withdrawal.current_calibration_id


def change(pipeline: str, known: Seen, standing: Control | None, now_ms: int) -> Control | None:
    """The record to be written now that `known` is, or None; `standing` is the backend's own."""
    gone = standing.withdrawal if standing is not None else None
    former = current_of(standing)
    if former == known.calibration_id:
        return None
    newer = gone is None or known.calibrated_ms > gone.calibrated_ms
    if not newer and now_ms - known.since_ms < SETTLE_MS:
        return None
    why = f"calibration of {known.backend} changed to {known.calibration_id}"
    return Control(
        pipeline=pipeline,
        name=control_name(known.backend),
        issued_at_ms=now_ms,
        issued_by=HAND,
        reason=f"{why} from {former}" if former else f"{why}, the first one known",
        withdrawal=Withdrawal(
            backend=known.backend,
            current_calibration_id=known.calibration_id,
            calibrated_ms=known.calibrated_ms,
            calibration_id=former,
        ),
    )
