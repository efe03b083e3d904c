"""Control records and changes in words, and the times that people give them. Pure."""

from datetime import UTC, datetime
from typing import Final

import msgspec

from enrichment.records import Change, ChangeKind, Control
from enrichment.rollout.changes import unified

CONTROLS: Final = frozenset(
    {
        ChangeKind.ROLLOUT,
        ChangeKind.SERVE,
        ChangeKind.COMPUTE,
        ChangeKind.EXPERIMENT,
        ChangeKind.WITHDRAWAL,
    }
)
"""Kinds whose before and after are control records."""


def in_words(control: Control) -> str:
    """In words what a control record says."""
    said = [f"nothing above {control.serve} serves"] if control.serve else []
    if (rollout := control.rollout) is not None:
        share = f" for {rollout.share:.2%} of the accounts" if rollout.share else ""
        against = ", against the gate" if rollout.override else ""
        said.append(f"{rollout.path.value} is {rollout.stage.value}{share}{against}")
    if (compute := control.compute) is not None:
        said += [f"{compute.provider} computes"] if compute.provider else []
        if compute.check_provider:
            said.append(f"{compute.check_provider} checks one job in {compute.check_every}")
    if control.experiment is not None:
        said.append(f"experiment {control.experiment.experiment_id}")
    if (gone := control.withdrawal) is not None:
        until = f" computed by {time_in_words(gone.until_ms)}" if gone.until_ms > 0 else ""
        if gone.everything:
            said.append("all features")
        elif gone.backend:
            current = gone.current_calibration_id
            said.append(f"rings of {gone.backend} under any calibration but {current}")
        elif gone.job_id or gone.calibration_id:
            ids = (("job", gone.job_id), ("calibration", gone.calibration_id))
            said += [f"rings of {kind} {id_}{until}" for kind, id_ in ids if id_]
        else:
            said.append(f"features{until}")
    return ", ".join(said)


def time_in_words(at_ms: int) -> str:
    """A time in UTC, as RFC 3339 has it."""
    try:
        at = datetime.fromtimestamp(at_ms / 1000, UTC)
    except (ValueError, OverflowError):
        return f"{at_ms} ms"
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def time_of(said: str, now_ms: int) -> int:
    """Milliseconds since 1970 of `now`, an RFC 3339 time, or just that. Raises ValueError."""
    if said == "now":
        return now_ms
    if said.isdecimal():
        return int(said)
    try:
        at = datetime.fromisoformat(said)
    except ValueError as error:
        raise ValueError(f"{said!r} is not now, 2026-11-25T03:00:00Z or milliseconds") from error
    if at.tzinfo is None:
        raise ValueError(f"in which zone is {said}? In UTC: {said}Z")
    return int(at.timestamp() * 1000)


def change_in_words(change: Change) -> str:
    """In words what a change did."""
    if not (change.after or change.before):
        return f"{change.subject} ended"
    if change.kind in CONTROLS:
        return _instruction_in_words(change)
    if not change.after:
        return f"{change.subject} ended"
    if change.kind is ChangeKind.ORDER:
        return f"{_member(change.after, 'order')} {change.subject}"
    if change.kind is ChangeKind.REPLAY:
        return "dead letters published again"
    if change.kind is ChangeKind.EVIDENCE:
        return change.subject
    if not change.before:
        return f"{change.subject}, as first recorded"
    lines = unified(change.subject, change.before, change.after)[2:]
    more, less = (sum(line.startswith(sign) for line in lines) for sign in "+-")
    return f"{change.subject}: {more} lines more, {less} less"


def _instruction_in_words(change: Change) -> str:
    try:
        control = msgspec.json.decode(change.after or change.before, type=Control)
    except msgspec.DecodeError:
        return change.subject  # another version's; `changes diff` shows it as it is
    said = in_words(control)
    return said if change.after else f"no longer: {said}"


def _member(text: str, name: str) -> str:
    """A member of a JSON object as text; "" where there is no such thing."""
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return ""
    return str(found.get(name, "")) if isinstance(found, dict) else ""
