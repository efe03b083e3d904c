"""The proofs that the gate demands, gathered on the spot: read, scored and run again."""

from contextlib import ExitStack
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from enrichment.cli.app import fail
from enrichment.cli.jobs_read import placed, reading
from enrichment.cli.progress import progress

if TYPE_CHECKING:
    from enrichment.lineage.reproduce import Redraw
    from enrichment.pipelines import Pipeline
    from enrichment.rollout.judgement import Proofs, Question
    from enrichment.sample.again import Recorded
    from enrichment.settings import Settings

TRIES: Final = 3
"""So many jobs are looked at for each that is asked for: some can not be run again any more, and to
find that out topics are read."""


def proofs(
    settings: "Settings", pipeline: "Pipeline", question: "Question", canary_since_ms: int | None
) -> "Proofs":
    """All of them; `canary_since_ms` is when the canary began that is to go live."""
    from enrichment.rollout.judgement import Proofs

    if question.experiment is None:
        return Proofs()
    return Proofs(
        **_records(settings, pipeline, question, canary_since_ms),
        **jobs_run_again(settings, pipeline, question),
    )


def _records(
    settings: "Settings", pipeline: "Pipeline", question: "Question", canary_since_ms: int | None
) -> dict[str, Any]:
    """What scoring records again gives, and what the canary has served."""
    from confluent_kafka import KafkaException

    from enrichment.lab.evaluate import EvaluationError, committed, committed_values
    from enrichment.lab.proofs import bad_among, looked_through
    from enrichment.lab.publish import explained
    from enrichment.lab.verify import verify
    from enrichment.stream.topics import StreamTopics
    from enrichment.wiring.clients import kafka_config

    assert question.experiment is not None  # noqa: S101  # `proofs` has looked
    kafka, topics = kafka_config(settings, "rollout"), StreamTopics(pipeline.name)
    canary = None if canary_since_ms is None else (question.path, canary_since_ms)
    rescored = import_module("enrichment.enrich.rescore").rescored
    try:
        with progress("reading answers", None) as advance:
            messages = committed(kafka, topics.enriched)
            seen = looked_through(messages, question.experiment, canary, advance)
        done = verify(pipeline, rescored(pipeline), seen.sample)
        bad = bad_among(seen.canary, committed_values(kafka, topics.outcomes)) if canary else None
    except EvaluationError as error:
        fail(str(error))
    except KafkaException as error:
        fail(explained(error))
    return {
        # Of another table or file they are not compared, and prove nothing.
        "rescored": done.read,
        "rescored_equal": done.compared - done.mismatched,
        "canary_bad": bad,
    }


def jobs_run_again(
    settings: "Settings", pipeline: "Pipeline", question: "Question"
) -> dict[str, Any]:
    """What running jobs again gives, the newest of the experiment first."""
    from enrichment.lab.proofs import to_run_again
    from enrichment.lineage.jobs import of_job, with_published
    from enrichment.lineage.reproduce import Redraw
    from enrichment.sample.again import as_it_was, options_of, refusal
    from enrichment.wiring.clock import now_ms

    assert question.experiment is not None  # noqa: S101  # `proofs` has looked
    wanted = pipeline.rollout.gate.reproduced_jobs
    ledger = [job for _, job in placed(settings).values()]
    jobs = to_run_again(ledger, pipeline.name, question.path, question.experiment)
    done: list[_RunAgain] = []
    with ExitStack() as opened, progress("running jobs again", wanted) as advance:
        reader = opened.enter_context(reading(settings))
        found: list[Recorded] = []
        for job in jobs[: TRIES * wanted]:
            if len(found) == wanted:
                break
            recorded = of_job(reader, job.job_id)
            if recorded is not None and not refusal(recorded):
                found.append(recorded)
        redraws: dict[tuple[object, ...], Redraw] = {}
        for recorded in with_published(reader, found) if found else ():
            options = options_of(recorded)
            which = (recorded.job.provider, *sorted(options.items()))
            if which not in redraws:
                redraw = Redraw(recorded.job.provider, now_ms, options)
                redraws[which] = opened.enter_context(redraw)
            then = as_it_was(recorded, pipeline)
            done.append(_run_again(redraws[which], recorded, then))
            advance(len(done))
    return {
        "energies": sum(one.energies for one in done),
        "energies_right": sum(one.energies_right for one in done),
        "reproduced": len(done),
        "reproduced_equal": sum(not one.differs for one in done),
        "not_reproduced": {one.job_id: one.differs for one in done if one.differs},
    }


class _RunAgain(NamedTuple):
    """What came of one job; `differs` is "" where it is the same."""

    job_id: str
    differs: str
    energies_right: int
    energies: int


def _run_again(redraw: "Redraw", recorded: "Recorded", then: "Pipeline") -> _RunAgain:
    from enrichment.lab.proofs import energies_right
    from enrichment.sample.estimate import answers_of

    job_id = recorded.job.job_id
    again = redraw.again(recorded, then)
    if isinstance(again, str):
        return _RunAgain(job_id, again, 0, 0)
    assert recorded.batch is not None  # noqa: S101  # else there is a refusal
    counted = energies_right(recorded.batch, then.problem.kind, answers_of(again.result))
    if again.compared.agrees and again.compared.same_samples:
        return _RunAgain(job_id, "", *counted)
    others = [check for check in again.compared.checks if check.same is not True]
    return _RunAgain(job_id, "; ".join(f"{one.name}: {one.detail}" for one in others), *counted)
