"""What a question is answered with."""

from dataclasses import dataclass
from enum import Enum


class Outcome(Enum):
    """How a question came out."""

    PASS = "pass"  # noqa: S105  # the word on the row
    FAIL = "fail"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer: what was seen, and what to do where it failed.

    `todo` beside a pass is a note: what a stricter profile would ask for.
    """

    outcome: Outcome
    seen: str
    todo: str = ""


def passed(seen: str) -> Answer:
    """All is well."""
    return Answer(outcome=Outcome.PASS, seen=seen)


def failed(seen: str, todo: str) -> Answer:
    """It must be mended first."""
    return Answer(outcome=Outcome.FAIL, seen=seen, todo=todo)


def not_applicable(why: str) -> Answer:
    """Nobody needs to know, or nobody could be asked."""
    return Answer(outcome=Outcome.NOT_APPLICABLE, seen=why)
