"""Records of change: which kind one is of, what stood at a time, and how two texts differ. Pure.

What stood at a time is folded from each change's `after`, in the order of the topic: the `before`
is for people, and two that were written at once could not contradict each other by it.
"""

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from enrichment.records import Change, ChangeKind, Control, Path, Rollout, Stage
from enrichment.rollout.control import COMPUTE, EVERY, EXPERIMENT, ROLLOUT, SERVE

LASTING: Final = frozenset(ChangeKind) - {
    ChangeKind.ORDER,
    ChangeKind.REPLAY,
    ChangeKind.EVIDENCE,
}
"""Kinds that leave something standing; the others happen, and are over."""

TEXT_MAX: Final = 262_144
"""Characters of a `before` or `after`: a file of ours has 20,000, and both fit one message."""

_HEIGHT: Final = {path.value: height for height, path in enumerate(Path)}

Subject = tuple[str, str]
"""Pipeline and name: of a control record, or of a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which changes are asked for; what is empty asks nothing."""

    pipeline: str = ""
    kinds: frozenset[ChangeKind] = frozenset()
    since_ms: int = 0
    until_ms: int = 0
    by: str = ""
    experiment_id: str = ""

    def fits(self, change: Change, running: Iterable[str]) -> bool:
        """Whether the change is meant; `running` are the experiments that were on just then."""
        return (
            (not self.pipeline or change.pipeline in (self.pipeline, EVERY))
            and (not self.kinds or change.kind in self.kinds)
            and change.changed_at_ms >= self.since_ms
            and (not self.until_ms or change.changed_at_ms <= self.until_ms)
            and (not self.by or change.changed_by == self.by)
            and (
                not self.experiment_id
                or change.experiment_id == self.experiment_id
                # What concerns all pipelines concerns each one's experiment.
                or (change.pipeline == EVERY and self.experiment_id in running)
            )
        )


def chosen(changes: Iterable[Change], wanted: Wanted) -> list[Change]:
    """Those that are meant, in order."""
    running: dict[str, str] = {}
    found: list[Change] = []
    for change in changes:
        if change.kind is ChangeKind.EXPERIMENT:
            running[change.pipeline] = change.experiment_id if change.after else ""
        if wanted.fits(change, running.values()):
            found.append(change)
    return found


def kind_of(control: Control) -> ChangeKind:
    """What a control record changes: of several things the weightiest."""
    if control.serve:
        return ChangeKind.SERVE
    if control.rollout is not None:
        return ChangeKind.ROLLOUT
    if control.compute is not None:
        return ChangeKind.COMPUTE
    return ChangeKind.WITHDRAWAL if control.experiment is None else ChangeKind.EXPERIMENT


def kind_of_name(name: str) -> ChangeKind:
    """What a control record of that name would change: for one that cannot be read."""
    one_of_each = {
        SERVE: ChangeKind.SERVE,
        COMPUTE: ChangeKind.COMPUTE,
        EXPERIMENT: ChangeKind.EXPERIMENT,
    }
    if name.startswith(ROLLOUT):
        return ChangeKind.ROLLOUT
    return one_of_each.get(name, ChangeKind.WITHDRAWAL)


def lets_less_in(control: Control, stood: Control | None) -> bool:
    """Whether the record takes something out of use and lets nothing in: the safe direction.

    `stood` is what stands under its key. What a pipeline's file says is not known here: a canary
    where nothing stands counts as let in.
    """
    if control.compute is not None or control.experiment is not None:
        return False
    if control.rollout is not None:
        former = None if stood is None else stood.rollout
        if _reach(control.rollout) > (0.0 if former is None else _reach(former)):
            return False
    if not control.serve:
        return True
    capped = stood.serve if stood is not None and stood.serve else Path.QUANTUM.value
    return _HEIGHT[control.serve] <= _HEIGHT[capped]


def _reach(rollout: Rollout) -> float:
    """Of the accounts: for how many the path serves."""
    return {Stage.SHADOW: 0.0, Stage.CANARY: rollout.share, Stage.LIVE: 1.0}[rollout.stage]


def stood_at(changes: Iterable[Change]) -> dict[Subject, str]:
    """What stands after these changes, by whom it concerns and its name."""
    standing: dict[Subject, str] = {}
    for change in changes:
        if change.kind not in LASTING:
            continue
        subject = (change.pipeline, change.subject)
        if change.after:
            standing[subject] = change.after
        else:
            standing.pop(subject, None)
    return standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that stands otherwise at one time than at another; "" where it does not stand."""

    pipeline: str
    subject: str
    before: str
    after: str


def differences(
    before: Mapping[Subject, str], after: Mapping[Subject, str]
) -> Iterator[Difference]:
    """What stands otherwise, by pipeline and name."""
    for pipeline, subject in sorted(before.keys() | after.keys()):
        was, is_ = (side.get((pipeline, subject), "") for side in (before, after))
        if was != is_:
            yield Difference(pipeline=pipeline, subject=subject, before=was, after=is_)


def unified(name: str, before: str, after: str) -> list[str]:
    """A unified diff of two texts, JSON set out line by line; nothing where they are equal."""
    return list(
        difflib.unified_diff(
            laid_out(before).splitlines(),
            laid_out(after).splitlines(),
            f"{name} before",
            f"{name} after",
            lineterm="",
        )
    )


def laid_out(text: str) -> str:
    """JSON with a line for each member, and any other text as it is."""
    try:
        plain = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
    return json.dumps(plain, indent=2, sort_keys=True, ensure_ascii=False)


def kept(text: str, digest: str) -> str:
    """The text, or where it is too long its hash in its place: the change itself must not fail."""
    return text if len(text) <= TEXT_MAX else f"{len(text)} characters, sha256 {digest}"


def matching(changes: Sequence[Change], prefix: str) -> list[int]:
    """Which of the changes have an id that begins so; the very id is one alone."""
    exact = [number for number, one in enumerate(changes) if one.change_id == prefix]
    if exact:
        return exact[:1]
    return [number for number, one in enumerate(changes) if one.change_id.startswith(prefix)]
