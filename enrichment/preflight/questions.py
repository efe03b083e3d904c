"""The production questions: a new one is one function of `Facts` and one line here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from enrichment.preflight import process, proof, records, sampling
from enrichment.preflight.answer import Answer, Outcome
from enrichment.preflight.facts import Facts


@dataclass(frozen=True, slots=True)
class Question:
    """One question: its name, as people read it, and who answers it."""

    name: str
    text: str
    answer: Callable[[Facts], Answer]


QUESTIONS: Final = (
    Question("baseline", "Is a baseline defined and measured?", proof.baseline),
    Question("weights", "Are the score's weights of this stream?", proof.weights),
    Question("latency", "Is acceptable latency defined?", proof.latency),
    Question("gate", "Are margin and looks fixed beforehand?", proof.gate),
    Question("let-in", "Has what serves proved itself?", proof.let_in),
    Question("experiment", "Is evidence of what runs now?", proof.experiment),
    Question("outcomes", "Will outcomes of what is declined be known?", proof.outcomes),
    Question("kill-switch", "Is the kill switch where all can read it?", proof.kill_switch),
    Question("fallback", "What happens when the provider is away?", sampling.fallback),
    Question("retries", "Are retries bounded?", sampling.retries),
    Question("simulator", "Which simulator computes by default?", sampling.simulator),
    Question("providers", "Are the providers configured, and paid for?", sampling.providers),
    Question("calibration", "How old is the device's calibration?", sampling.calibration),
    Question("circuit", "How deep are circuits, and what is measured?", sampling.circuit),
    Question("traceable", "Can a run be traced?", records.traceable),
    Question("topics", "Are topics as their manifests say?", records.in_step),
    Question("partitions", "Are partition counts equal where they must be?", records.partitions),
    Question("retention", "Is everything kept as long as it is needed?", records.retention),
    Question("durable", "May a broker be lost?", records.durable),
    Question("explicit", "Do topics come into being on purpose alone?", records.explicit),
    Question("schemas", "Are schemas in step?", records.schemas),
    Question("registry", "Does the schema registry know them?", records.registry),
    Question("secrets", "Are secrets set, and none of them a default?", process.secrets),
    Question("settings", "Do the settings suit the profile?", process.settings),
    Question("cache", "Does the feature cache keep what it is given?", process.cache),
    Question("pinned", "Are versions pinned?", process.pinned),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """One question with its answer."""

    question: Question
    answer: Answer


def ask(facts: Facts) -> tuple[Asked, ...]:
    """Every question's answer, in the order of the table."""
    return tuple(Asked(question, question.answer(facts)) for question in QUESTIONS)


def is_ready(asked: tuple[Asked, ...]) -> bool:
    """Whether none has failed."""
    return all(each.answer.outcome is not Outcome.FAIL for each in asked)
