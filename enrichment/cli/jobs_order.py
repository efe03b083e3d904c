"""`enrichment jobs retry | cancel | quarantine`: orders that the jobs' workers carry out."""

import json
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import typer

from enrichment.cli.app import JsonOption, fail, settings_of
from enrichment.cli.jobs_filter import Filter
from enrichment.cli.options import spread
from enrichment.cli.who import By, login

if TYPE_CHECKING:
    from enrichment.records import Job, JobOrder, MicroBatch, OrderKind
    from enrichment.settings import Settings

EXIT_MISUSE: Final = 2

LIMIT: Final = 100
"""Jobs of one command, where nothing else is said: a slip of the filter is not a catastrophe."""

Ids = Annotated[
    list[str] | None,
    typer.Argument(help="The jobs' ids; without any, options say which.", show_default=False),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How orders are given: why, by whom, how many, and whether one is asked and waits."""

    reason: Annotated[str, typer.Option("--reason", help="Why: it is asked for, and kept.")]
    by: By = ""
    limit: Annotated[
        int, typer.Option("--limit", help="At most so many, those of the oldest windows.", min=1)
    ] = LIMIT
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which jobs are meant.")] = (
        False
    )
    wait: Annotated[
        float,
        typer.Option(
            "--wait", help="Seconds to wait for a word about the orders; 0: do not.", min=0.0
        ),
    ] = 10.0
    as_json: JsonOption = False


@spread
def retry(
    context: typer.Context,
    *,
    jobs: Ids = None,
    wanted: Filter,
    quarantined: Annotated[
        bool, typer.Option("--quarantined", help="Also jobs that are set aside.")
    ] = False,
    manner: Manner,
) -> None:
    """Try jobs again that have failed, or have only a fallback: each once more from the start.

    By options alone: those that have failed; for fallbacks say --state fallback_complete. Features
    and cases go out only where no newer window of the shard has published since; `jobs show` tells.

    Exit codes: 0 done, 1 an error, 2 misuse or no such jobs, 3 some were not carried out, 4 some
    were not heard in time (they will be).

    Examples:
      enrichment jobs retry 'payments|eu|1700000000000|0' --reason "vendor is back"

      enrichment jobs retry --state failed -p payments --since 30m --provider qsim --reason outage

      enrichment jobs retry --like 'payments|eu|1700000000000|0' --reason "fixed" --dry-run
    """
    from enrichment.records import OrderKind

    _order(settings_of(context), OrderKind.RETRY, jobs, wanted, manner, quarantined)


@spread
def cancel(context: typer.Context, *, jobs: Ids = None, wanted: Filter, manner: Manner) -> None:
    """Want no answer of open jobs any more: they end as failed, and are cancelled at providers.

    Exit codes: 0 done, 1 an error, 2 misuse or no such jobs, 3 some were not carried out, 4 some
    were not heard in time (they will be).

    Examples:
      enrichment jobs cancel 'payments|eu|1700000000000|0' --reason "test data"

      enrichment jobs cancel --older 10m --provider ionq --reason "vendor hangs" --yes
    """
    from enrichment.records import OrderKind

    _order(settings_of(context), OrderKind.CANCEL, jobs, wanted, manner)


@spread
def quarantine(context: typer.Context, *, jobs: Ids = None, wanted: Filter, manner: Manner) -> None:
    """Set jobs aside: open ones end as failed, and only `retry --quarantined` takes them up again.

    Jobs that end their workers, or that no provider can do, are set aside without being told to:
    `jobs list --quarantined`.

    Exit codes: 0 done, 1 an error, 2 misuse or no such jobs, 3 some were not carried out, 4 some
    were not heard in time (they will be).

    Examples:
      enrichment jobs quarantine 'payments|eu|1700000000000|0' --reason "ends its workers"

      enrichment jobs quarantine --like 'payments|eu|1700000000000|0' --reason "bug 7" --dry-run
    """
    from enrichment.records import OrderKind

    _order(settings_of(context), OrderKind.QUARANTINE, jobs, wanted, manner)


def _order(
    settings: "Settings",
    kind: "OrderKind",
    ids: list[str] | None,
    wanted: Filter,
    manner: Manner,
    quarantined: bool = False,
) -> None:
    """Look whether the orders can be given, ask, give them, and say what became of them."""
    from enrichment.cli.jobs_given import Plan, give, print_given
    from enrichment.cli.jobs_read import micro_batches
    from enrichment.records import OrderKind

    if not manner.reason.strip():
        fail("say why with --reason: whoever looks at the job will want to know", EXIT_MISUSE)
    meant = _meant(settings, kind, ids, wanted)
    misfits = {job.job_id: _misfit(kind, job, quarantined) for _, job in meant}
    fit = [(number, job) for number, job in meant if not misfits[job.job_id]]
    more, fit = max(0, len(fit) - manner.limit), fit[: manner.limit]
    payloads: dict[str, MicroBatch] = {}
    if kind is OrderKind.RETRY and fit:
        payloads = micro_batches(settings, fit)
        for _, job in fit:
            if job.job_id not in payloads:
                misfits[job.job_id] = "its micro-batch has left sampling.micro-batches"
        fit = [(number, job) for number, job in fit if job.job_id in payloads]
    by = manner.by.strip() or login()
    orders = [
        (number, _new(kind, job, by, manner.reason.strip(), quarantined, payloads.get(job.job_id)))
        for number, job in fit
    ]
    plan = Plan(
        kind=kind,
        orders=orders,
        left_out={job_id: why for job_id, why in misfits.items() if why},
        more=more,
        stood={job.job_id: _stood(job) for _, job in fit},
    )
    if manner.dry_run:
        plan.print(as_json=manner.as_json)
        return
    if not orders:
        plan.end_without()
    if not manner.yes and (not ids or len(orders) > 1):
        plan.ask(as_json=manner.as_json)
    print_given(plan, give(settings, plan, manner.wait), manner.wait, as_json=manner.as_json)


def _meant(
    settings: "Settings", kind: "OrderKind", ids: list[str] | None, wanted: Filter
) -> "list[tuple[int, Job]]":
    """Partition and job of all that is named, or fits the filter; the oldest windows first."""
    from enrichment.cli.jobs_read import no_such_job, placed
    from enrichment.records import JobState, OrderKind
    from enrichment.records.micro_batch import version_of

    if bool(ids) is not wanted.is_empty:
        fail("say which jobs: their ids, or options such as --state, and not both", EXIT_MISUSE)
    known = placed(settings)
    for job_id in ids or ():
        if job_id not in known:
            no_such_job(job_id, known)
    chosen = [known[job_id] for job_id in dict.fromkeys(ids or ())]
    if not ids:
        # What nobody names must fit the order, too; and a fallback has done its service.
        fits = wanted.chosen(job for _, job in known.values())
        if kind is OrderKind.RETRY and not wanted.state:
            fits = [job for job in fits if job.state is JobState.FAILED]
        # A failed check is a finding, and another try at a device may be billed.
        if kind is OrderKind.RETRY and not wanted.checks:
            fits = [job for job in fits if not job.check_of]
        chosen = [known[job.job_id] for job in fits if not _misfit(kind, job, True)]
    return sorted(chosen, key=lambda each: (version_of(each[1].micro_batch_id), each[1].job_id))


def _misfit(kind: "OrderKind", job: "Job", quarantined: bool) -> str:
    """Why the order would do nothing to the job as it stands, or ""."""
    from enrichment.records import JobState, OrderKind
    from enrichment.sample.machine import TERMINAL

    if kind is OrderKind.RETRY:
        if job.quarantined and not quarantined:
            return "it is quarantined: say --quarantined if you mean it"
        ended = job.state in {JobState.FAILED, JobState.FALLBACK_COMPLETE}
        return "" if ended else f"it is {job.state.value}"
    if kind is OrderKind.QUARANTINE and job.state is JobState.FAILED:
        return "it is quarantined already" if job.quarantined else ""
    return f"it is {job.state.value}" if job.state in TERMINAL else ""


def _stood(job: "Job") -> str:
    """How the job stands, as far as orders concern it, as JSON."""
    return json.dumps(
        {"state": job.state.value, "attempt": job.attempt, "quarantined": job.quarantined}
    )


def _new(
    kind: "OrderKind",
    job: "Job",
    by: str,
    reason: str,
    quarantined: bool,
    micro_batch: "MicroBatch | None",
) -> "JobOrder":
    """An order about the job, later than any that it has heard, whatever the clocks say."""
    from enrichment.records import JobOrder

    return JobOrder(
        order_id=uuid.uuid4().hex,
        pipeline=job.pipeline,
        job_id=job.job_id,
        order=kind,
        issued_at_ms=max(time.time_ns() // 1_000_000, job.ordered_ms + 1),
        issued_by=by,
        reason=reason,
        shard=job.shard,
        micro_batch=micro_batch,
        quarantined=quarantined,
    )
