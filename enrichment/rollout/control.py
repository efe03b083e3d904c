"""What `enrichment.control` says is in force now, folded from its records. Pure.

The topic is compacted: the newest record under a key counts, and a tombstone lifts it. What comes
out depends on the records that are left alone and not on their order, so that a process that has
run for weeks and one that starts now say the same, whatever compaction has removed.

A withdrawal by job or by calibration covers values of the group `ring`, which jobs compute; one of
a pipeline's past (`until_ms`), or of everything, covers both groups. A device's present calibration
withdraws its values of any other, however many those are, by one record for each backend.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final, Protocol

import msgspec

from enrichment.records import (
    Compute,
    Control,
    Experiment,
    Path,
    Rollout,
    Source,
    Stage,
    Withdrawal,
)

EVERY: Final = "*"  # a control record's pipeline that stands for all of them
RING: Final = "ring"

# Names of control records that there is one of; a rollout's ends with its path.
SERVE: Final = "serve"
ROLLOUT: Final = "rollout."
COMPUTE: Final = "compute"
EXPERIMENT: Final = "experiment"

CAPS: Final = tuple(path.value for path in Path)
"""What `serve` may say, from the kill switch to no cap at all."""

# More than that is no list of bad jobs but a bad pipeline. It also bounds what a reader fetches
# with every read: some 12 kB.
WITHDRAWALS_MAX: Final = 256
RECORDS_MAX: Final = 10_000  # held for one pipeline and for `*`, some 10 MB: ours write a handful
VALUE_MAX: Final = 8_192  # bytes of one record: a reason is a sentence

NEVER_MS: Final = -(2**53)
FOREVER_MS: Final = 2**53 - 1  # what JSON can carry exactly, 285,000 years from now


class MalformedControlError(ValueError):
    """A record on the control topic that instructs nobody, said in one line."""


class Computed(Protocol):
    """What a withdrawal asks of a value: a feature update, or as much of one."""

    @property
    def group(self) -> str:
        """Whether jobs compute it (`ring`), or the window stage (`graph`)."""

    @property
    def computed_at_ms(self) -> int:
        """When it was computed."""

    @property
    def source(self) -> Source | None:
        """How."""


class Withdrawals(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which values must not be used: asked for each value on the hot path, while any is in force.

    Each time says up to when a value must have been computed to be covered.
    """

    until_ms: int = NEVER_MS
    jobs: dict[str, int] = {}
    calibrations: dict[str, int] = {}
    # Backend -> the calibration that it has: what it computed under another is covered.
    current: dict[str, str] = {}

    def covers(self, update: Computed) -> bool:
        """Whether the value is withdrawn."""
        at_ms = update.computed_at_ms
        if at_ms <= self.until_ms:
            return True
        source = update.source
        if source is None or update.group != RING:
            return False
        return (
            at_ms <= self.jobs.get(source.job_id, NEVER_MS)
            or at_ms <= self.calibrations.get(source.calibration_id, NEVER_MS)
            or source.calibration_id
            not in ("", self.current.get(source.backend, source.calibration_id))
            # Without a time: what a bad job drew is no better for having been used later.
            or source.kept_job_id in self.jobs
        )


class ControlState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is in force for one pipeline. A new object where anything has changed, else the same.

    As JSON it is what the projector mirrors into the feature cache.
    """

    pipeline: str
    # A hash of the rest, equal in every process that is told the same; "" where nothing is in
    # force.
    revision: str = ""
    # None where nothing is withdrawn: then nothing need be asked for each value.
    withdrawals: Withdrawals | None = None
    # The highest path that may serve, or "": the kill switch.
    serve: str = ""
    # Path -> how far it is let in, in place of what the pipeline's file says.
    rollouts: dict[str, Rollout] = {}
    compute: Compute | None = None
    experiment: Experiment | None = None


def control_key(pipeline: str, name: str) -> str:
    """The key of a control record on the topic."""
    return f"{pipeline}|{name}"


_decoder: Final = msgspec.json.Decoder(Control)


def parsed(key: bytes | None, value: bytes) -> Control:
    """The record, if it instructs anybody. Raises MalformedControlError."""
    if len(value) > VALUE_MAX:
        raise MalformedControlError(f"a control record of {len(value)} bytes, of {VALUE_MAX}")
    try:
        control = _decoder.decode(value)
    except msgspec.DecodeError as error:
        raise MalformedControlError(f"not a control record: {error}") from error
    wanted = control_key(control.pipeline, control.name)
    if key != wanted.encode():
        raise MalformedControlError(f"the key should be {wanted!r}")
    gone, serve = control.withdrawal, control.serve
    told = (gone, control.rollout, control.compute, control.experiment)
    if not serve and all(each is None for each in told):
        raise MalformedControlError("it instructs nobody to do anything")
    if gone is not None and not (
        gone.job_id
        or gone.calibration_id
        or gone.until_ms > 0
        or gone.everything
        or (gone.backend and gone.current_calibration_id)
    ):
        raise MalformedControlError("its withdrawal names nothing")
    if serve and serve not in CAPS:
        raise MalformedControlError(f"there is no path {serve!r}")
    _check_rollout(control)
    return control


def _check_rollout(control: Control) -> None:
    """Raise MalformedControlError where a rollout, a provider or an experiment makes no sense."""
    rollout, compute = control.rollout, control.compute
    if rollout is not None:
        if rollout.path is Path.HEURISTIC:
            raise MalformedControlError("the heuristic is always let in: it is what is left")
        if control.name != f"{ROLLOUT}{rollout.path.value}":
            raise MalformedControlError(f"its name should be {ROLLOUT}{rollout.path.value}")
        if not 0 <= rollout.share <= 1 or (rollout.stage is Stage.CANARY) is not (
            rollout.share > 0
        ):
            raise MalformedControlError("a canary, and nothing else, has a share in (0, 1]")
    if compute is not None and (
        compute.check_every < 0 or bool(compute.check_provider) is not bool(compute.check_every)
    ):
        raise MalformedControlError("a spot check has a provider, and is of one job in so many")
    if compute is not None and not compute.provider and not compute.check_provider:
        raise MalformedControlError("it names no provider")
    if control.experiment is not None and not control.experiment.experiment_id:
        raise MalformedControlError("its experiment has no id")


class ControlFold:
    """The records of one pipeline, and of `*`, newest per key, and the state they amount to."""

    def __init__(self, pipeline: str) -> None:
        self.state = ControlState(pipeline=pipeline)
        self._prefixes = tuple(control_key(name, "").encode() for name in (pipeline, EVERY))
        self._controls: dict[bytes, Control] = {}
        self._overflowed = False
        self._too_many = False

    def take(self, records: Iterable[tuple[bytes | None, bytes | None]]) -> list[str]:
        """Fold in records by key and value, in order. Returns what must be said about them."""
        said: list[str] = []
        changed = False
        for key, value in records:
            if key is None:
                said.append("skipped: a control record without a key")
            elif not key.startswith(self._prefixes):
                continue
            elif value is None:
                changed = self._controls.pop(key, None) is not None or changed
            else:
                changed = self._hold(key, value, said) or changed
        if changed:
            self._settle(said)
        return said

    def _hold(self, key: bytes, value: bytes, said: list[str]) -> bool:
        """Keep a record; False where it is skipped."""
        try:
            control = parsed(key, value)
        except MalformedControlError as error:
            said.append(f"skipped {key.decode(errors='replace')!r}: {error}")
            return False
        if len(self._controls) >= RECORDS_MAX and key not in self._controls:
            if not self._overflowed:
                said.append(
                    f"more than {RECORDS_MAX} control records: all features of the pipeline count "
                    "as withdrawn until this process is started again; lift some first"
                )
            self._overflowed = True
            return True
        self._controls[key] = control
        return True

    def _settle(self, said: list[str]) -> None:
        """Say what the records amount to now, by the same object where that is the same."""
        too_many = sum(one.withdrawal is not None for one in self._controls.values())
        if (too_many > WITHDRAWALS_MAX) is not self._too_many:
            self._too_many = not self._too_many
            said.append(
                f"more than {WITHDRAWALS_MAX} withdrawals: all features of the pipeline count as "
                "withdrawn until some are lifted"
                if self._too_many
                else f"no more than {WITHDRAWALS_MAX} withdrawals again: each counts by itself"
            )
        state = in_force(self.state.pipeline, self._controls.values(), all_of_it=self._overflowed)
        if state != self.state:
            self.state = state


def in_force(
    pipeline: str, controls: Iterable[Control], *, all_of_it: bool = False
) -> ControlState:
    """What these records, one for each key, amount to for that pipeline.

    Too many withdrawals withdraw everything: it is safer than to forget one, and cannot be missed.
    """
    held = by_weight(pipeline, controls)
    gone = [one.withdrawal for one in held if one.withdrawal is not None]
    # Of several caps the lowest: a kill switch for all pipelines is not undone by a weaker one.
    serve = min((one.serve for one in held if one.serve), key=CAPS.index, default="")
    if all_of_it or len(gone) > WITHDRAWALS_MAX:
        withdrawals: Withdrawals | None = Withdrawals(until_ms=FOREVER_MS)
    else:
        withdrawals = _together(gone) if gone else None
    # A record of the pipeline itself comes later, and takes the place of one to all.
    rollouts = {one.rollout.path.value: one.rollout for one in held if one.rollout is not None}
    compute = next((one.compute for one in reversed(held) if one.compute is not None), None)
    experiment = next((one.experiment for one in reversed(held) if one.experiment), None)
    if withdrawals is None and not (serve or rollouts or compute or experiment):
        return ControlState(pipeline=pipeline)
    rollouts = dict(sorted(rollouts.items()))
    parts: list[object] = [withdrawals, serve]
    if rollouts or compute or experiment:  # else as processes of before these fields say it
        parts += [rollouts, compute, experiment]
    told = msgspec.json.encode(parts)
    return ControlState(
        pipeline=pipeline,
        revision=blake2b(told, digest_size=8).hexdigest(),
        withdrawals=withdrawals,
        serve=serve,
        rollouts=rollouts,
        compute=compute,
        experiment=experiment,
    )


def by_weight(pipeline: str, controls: Iterable[Control]) -> list[Control]:
    """Those that concern the pipeline, the one that counts most last.

    A pipeline's own word counts more than one to all, and the newer more than the older.
    """
    return sorted(
        (one for one in controls if one.pipeline in (pipeline, EVERY)),
        key=lambda one: (one.pipeline != EVERY, one.issued_at_ms, one.name),
    )


def _together(gone: Iterable[Withdrawal]) -> Withdrawals:
    """Withdrawals as one question: of two about the same, the one that covers more."""
    until_ms = NEVER_MS
    jobs: dict[str, int] = {}
    calibrations: dict[str, int] = {}
    current: dict[str, str] = {}
    for one in gone:
        # Without a time a job or a calibration is withdrawn for good.
        by_ms = one.until_ms if one.until_ms > 0 else FOREVER_MS
        if one.backend:
            # The one calibration that it names beside is among those that are not the current one.
            current[one.backend] = one.current_calibration_id
        elif one.everything:
            until_ms = FOREVER_MS
        elif one.job_id or one.calibration_id:
            for ids, id_ in ((jobs, one.job_id), (calibrations, one.calibration_id)):
                if id_:
                    ids[id_] = max(by_ms, ids.get(id_, NEVER_MS))
        else:
            until_ms = max(until_ms, by_ms)
    return Withdrawals(
        until_ms=until_ms,
        jobs=dict(sorted(jobs.items())),
        calibrations=dict(sorted(calibrations.items())),
        current=dict(sorted(current.items())),
    )
