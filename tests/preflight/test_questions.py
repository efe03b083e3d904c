"""Each production question: facts that it passes, facts that it fails, and what it says to do."""

from dataclasses import replace

import pytest

from enrichment.preflight.answer import Outcome
from enrichment.preflight.facts import Facts, Part
from enrichment.preflight.questions import QUESTIONS, ask, is_ready
from enrichment.profile import Profile, Weight
from enrichment.stream import topics
from tests.preflight.cases import DEEP, FAILS, PASSES
from tests.preflight.known import (
    CACHE,
    READY,
    breach,
    changed,
    lacking,
    with_control,
    with_pipeline,
    with_topic,
)

ASK = {question.name: question.answer for question in QUESTIONS}


def test_every_question_has_a_failure_and_a_name_of_its_own() -> None:
    """A question that is added without a case here is noticed."""
    assert len(ASK) == len(QUESTIONS)
    assert set(FAILS) == set(ASK)
    assert set(PASSES) <= set(ASK)


def test_a_pipeline_that_is_ready_passes_production() -> None:
    """Nothing has failed, and what was seen is said; what does not apply says why."""
    asked = ask(READY)
    assert is_ready(asked), [each for each in asked if each.answer.outcome is Outcome.FAIL]
    assert all(each.answer.seen for each in asked)
    assert not any(each.answer.todo for each in asked)
    skipped = {e.question.name for e in asked if e.answer.outcome is Outcome.NOT_APPLICABLE}
    assert skipped == {"calibration"}


@pytest.mark.parametrize(
    ("name", "facts"), [(name, each) for name, facts in PASSES.items() for each in facts]
)
def test_a_question_passes(name: str, facts: Facts) -> None:
    """With nothing to do."""
    answer = ASK[name](facts)
    assert (answer.outcome, answer.todo) == (Outcome.PASS, ""), answer


@pytest.mark.parametrize(
    ("name", "facts", "todo"),
    [(name, each, todo) for name, cases in FAILS.items() for each, todo in cases],
)
def test_a_question_fails_in_production(name: str, facts: Facts, todo: str) -> None:
    """And says what was seen and what to do."""
    answer = ASK[name](facts)
    assert answer.outcome is Outcome.FAIL, answer
    assert answer.seen
    assert todo in answer.todo
    assert not is_ready(ask(facts))


@pytest.mark.parametrize(
    ("name", "facts", "strict"),
    [
        ("gate", replace(READY, written=frozenset()), Profile.PRODUCTION),
        ("let-in", with_control(rollouts={}), Profile.PRODUCTION),
        ("outcomes", with_pipeline("rollout", untreated_share=0.0), Profile.PRODUCTION),
        ("durable", with_topic(topics.JOBS, **{"min.insync.replicas": "1"}), Profile.PRODUCTION),
        ("circuit", DEEP, Profile.VALIDATION),
        ("simulator", with_pipeline("sampling", provider="random"), Profile.VALIDATION),
        ("cache", replace(READY, cache=replace(CACHE, eviction="lru")), Profile.VALIDATION),
    ],
)
def test_the_profile_says_how_strict_a_question_is(
    name: str, facts: Facts, strict: Profile
) -> None:
    """What fails from one profile on is a pass with a note before it."""
    for profile in Profile:
        answer = ASK[name](replace(facts, profile=profile))
        wanted = Outcome.FAIL if profile.reaches(strict) else Outcome.PASS
        assert (answer.outcome, bool(answer.todo)) == (wanted, True)


def test_what_is_warned_of_is_a_note() -> None:
    """A rule that the profile does not refuse fails nothing."""
    for name, facts in (
        ("secrets", breach("redis_password", Weight.WARNED, secret=True)),
        ("settings", breach("kafka_plain", Weight.WARNED)),
        ("weights", breach("simulated_weights", Weight.ALLOWED)),
    ):
        answer = ASK[name](facts)
        assert (answer.outcome, answer.todo) == (Outcome.PASS, "mend it")


def test_offline_no_server_is_missed() -> None:
    """What only servers know is not applicable; what manifests say of topics is asked of them."""
    asked = {each.question.name: each.answer for each in ask(lacking(*Part))}
    offline = {name for name, answer in asked.items() if answer.seen == "offline"}
    assert offline == {
        "let-in", "experiment", "outcomes", "kill-switch", "topics", "durable", "explicit",
        "registry", "cache",
    }  # fmt: skip
    assert all(asked[name].outcome is Outcome.NOT_APPLICABLE for name in offline)
    assert "in the manifests" in asked["retention"].seen


def test_a_topic_whose_manifest_says_enough_is_applied_and_not_edited() -> None:
    """The broker is behind its file: the file needs no change."""
    facts = replace(
        READY, topics={**READY.topics, topics.DIGESTS: with_topic(
            topics.DIGESTS, **{"retention.ms": "1"}).topics[topics.DIGESTS]},
    )  # fmt: skip
    answer = ASK["retention"](facts)
    assert answer.outcome is Outcome.FAIL
    assert answer.todo == "`enrichment topics apply enrichment.digests`: its manifest says enough"


def test_ages_by_event_time_are_not_held_against_a_brokers_clock() -> None:
    """A replay's features may serve for years of its own time; its job's events last for days."""
    facts = with_topic(topics.JOB_EVENTS, **{"retention.ms": "1"})
    event = replace(facts, pipeline=changed(facts.pipeline, "features", clock="event"))
    assert ASK["retention"](facts).outcome is Outcome.FAIL
    assert ASK["retention"](event).outcome is Outcome.PASS
    assert ASK["traceable"](event).outcome is Outcome.PASS


def test_the_kill_switch_is_told_and_is_no_failure() -> None:
    """Pulled is a state that somebody wanted."""
    assert ASK["kill-switch"](with_control(serve="heuristic")).seen.startswith("pulled: at most")
    assert ASK["kill-switch"](READY).seen.startswith("not pulled")
