"""Endpoints that only read: from memory, from the cache, and by commands that look things up."""

import asyncio
import tempfile
from pathlib import Path
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from enrichment.console.board import (
    cases_by_risk,
    cases_by_status,
    flow_plain,
    jobs_by_state,
    jobs_newest,
    row_of,
)
from enrichment.console.calls import ACCEPTED
from enrichment.console.desk import Desk, Drawn
from enrichment.console.folds import ENDED, JobRow
from enrichment.console.limits import COMMAND_BYTES_MAX, EVIDENCE_S
from enrichment.console.problems import Problem, json_response
from enrichment.console.requests import id_of, limit_of, number_of, text_of
from enrichment.console.shapes import (
    CaseShown,
    CasesListed,
    FeaturesShown,
    FlowShown,
    GroupShown,
    JobShown,
    JobsListed,
)
from enrichment.pipelines.definition import CLASSICAL_PROVIDERS, RANDOM_PROVIDER
from enrichment.records import JobEvent
from enrichment.rollout.shown import shown

GROUPS: Final = ("graph", "ring")
UNDRAWN: Final = frozenset({*CLASSICAL_PROVIDERS, RANDOM_PROVIDER})
"""Providers that run no circuit."""

PROBLEMS_MAX: Final = 64  # of one job, as pipelines may have them
EXIT_UNKNOWN: Final = 2
EXIT_NOT_REACHED: Final = 3


async def features(desk: Desk, request: Request) -> Response:
    """One entity's features, each group with its verdict as of now."""
    if (named := id_of(request, "pipeline")) != desk.pipeline.name:
        raise Problem(404, f"this console is of {desk.pipeline.name}, not of {named}")
    kinds = sorted({desk.pipeline.kind(role) for role in desk.pipeline.entities})
    if (entity := id_of(request, "entity")) not in kinds:
        raise Problem(404, f"there is no entity {entity}; known: {', '.join(kinds)}")
    id_ = id_of(request, "id")
    asked = request.query_params.getlist("group") or list(GROUPS)
    if any(group not in GROUPS for group in asked):
        raise Problem(400, f"group: wanted one of {', '.join(GROUPS)}")
    wanted = [(entity, id_, group) for group in dict.fromkeys(asked)]
    async with desk.kept.reading:  # the reader is of one thread at a time
        try:
            found = await asyncio.to_thread(desk.ports.features.read_many, wanted)
        except msgspec.DecodeError as error:
            raise Problem(502, f"the cache holds what no projector wrote: {error}") from error
    groups = tuple(
        GroupShown(
            group=one.group,
            verdict=one.verdict,
            usable=one.usable,
            age_ms=one.age_ms,
            version=one.version,
            subgraph=one.subgraph,
            event_time_ms=one.event_time_ms,
            computed_at_ms=one.computed_at_ms,
            values=dict(one.values),
            estimates={path: dict(figures) for path, figures in one.estimates.items()},
            source=one.source,
        )
        for one in found
    )
    return json_response(
        FeaturesShown(pipeline=desk.pipeline.name, entity=entity, id=id_, groups=groups)
    )


async def event(desk: Desk, request: Request) -> Response:
    """An enriched event and everything behind it, as `enrichment lineage` tells it."""
    arguments = ["lineage", f"--pipeline={desk.pipeline_argument}", "--json"]
    if account := text_of(request, "account"):
        arguments.append(f"--account={account}")
    said = await desk.ports.commands.run(*arguments, "--", id_of(request, "id"))
    return _told(said.out, said.code, said.error)


async def jobs(desk: Desk, request: Request) -> Response:
    """Jobs, those changed last first."""
    state, shard = text_of(request, "state"), text_of(request, "shard")
    known = desk.known.jobs
    chosen = jobs_newest(
        job
        for job in known.rows.values()
        if (not state or job.state == state) and (not shard or job.shard == shard)
    )
    return json_response(
        JobsListed(
            counts=jobs_by_state(known),
            found=len(chosen),
            dropped=known.dropped,
            jobs=tuple(chosen[: limit_of(request)]),
        )
    )


async def job(desk: Desk, request: Request) -> Response:
    """One job and its transitions; a call that no sampler has begun is `accepted`."""
    row = job_of(desk, id_of(request, "id"))
    events = [] if row.state == ACCEPTED else await transitions(desk, row)
    return json_response(JobShown(job=row, events=tuple(events)))


async def drawn(desk: Desk, request: Request) -> Response:
    """A job drawn again, as `enrichment jobs explain` tells it: problem, circuit, energies."""
    made = await _drawn(desk, request)
    return Response(made.said, 200, {"cache-control": "no-store"}, "application/json")


async def circuit(desk: Desk, request: Request) -> Response:
    """The circuit of a drawn job's problem, as SVG."""
    made = await _drawn(desk, request)
    if not made.svg:
        raise Problem(404, "no circuit was run")
    return Response(made.svg, 200, {"cache-control": "private, max-age=300"}, "image/svg+xml")


async def cases(desk: Desk, request: Request) -> Response:
    """Cases to work, open ones with the largest amount at risk first."""
    status, member = text_of(request, "status"), text_of(request, "member")
    known = desk.known.cases
    chosen = cases_by_risk(
        case
        for case in known.rows.values()
        if (not status or case.status.value == status)
        and (
            not member
            or any(member == one.id for one in case.members)
            or any(member == tie.id for tie in case.evidence)
        )
    )
    return json_response(
        CasesListed(
            counts=cases_by_status(known),
            found=len(chosen),
            dropped=known.dropped,
            cases=tuple(row_of(case) for case in chosen[: limit_of(request)]),
        )
    )


async def case(desk: Desk, request: Request) -> Response:
    """One case, or the one that has taken it in."""
    case_id, known = id_of(request, "id"), desk.known.cases.rows
    found, taken_in_by = known.get(case_id), ""
    if found is None:
        found = next((one for one in known.values() if case_id in one.merged), None)
        if found is None:
            raise Problem(404, f"there is no case '{case_id}' in {desk.pipeline.name}")
        taken_in_by = found.case_id
    scale = desk.pipeline.stream.amount_scale
    return json_response(CaseShown(case=found, amount_scale=scale, taken_in_by=taken_in_by))


async def rollout(desk: Desk, _: Request) -> Response:
    """How far each path is let in, and on whose word."""
    controls = desk.known.controls
    return json_response(shown(desk.pipeline, controls.rows, controls.malformed))


async def evidence(desk: Desk, _: Request) -> Response:
    """What the running experiment shows as of now, with intervals; the gate does not count it."""
    async with desk.kept.weighing:
        kept = desk.kept.evidence
        if kept is None or desk.clocks.now_s() - kept[0] >= EVIDENCE_S:
            said = await desk.ports.commands.run(
                "evidence", "show", f"--pipeline={desk.pipeline_argument}",
                "--now", "--no-repeat", "--json",
            )  # fmt: skip
            if said.code in {EXIT_UNKNOWN, EXIT_NOT_REACHED}:
                raise Problem(404, said.error)
            _told(said.out, said.code, said.error)
            kept = desk.kept.evidence = (desk.clocks.now_s(), said.out)
    return Response(kept[1], 200, {"cache-control": "no-store"}, "application/json")


async def flow(desk: Desk, _: Request) -> Response:
    """Rates and lags, and a sample of the answers of the last minute."""
    gauged = desk.known.gauged
    return json_response(
        FlowShown(flow=flow_plain(gauged.flow), answers=gauged.shares, trouble=desk.known.trouble())
    )


def job_of(desk: Desk, job_id: str) -> JobRow:
    """A job of the ledger, or a call that was accepted here. Raises Problem where it is neither.

    And where another content came first, at another console, under the key of the call.
    """
    row, taken = desk.known.jobs.rows.get(job_id), desk.calls.row(job_id)
    if row is None and taken is None:
        raise Problem(404, f"there is no job '{job_id}' in the ledger of {desk.pipeline.name}")
    if row is not None and taken is not None and row.content_hash != taken.content_hash:
        raise Problem(409, "another content came first under its key, and this one is not solved")
    found = row or taken
    assert found is not None  # noqa: S101  # one of them is
    return found


async def transitions(desk: Desk, row: JobRow) -> list[JobEvent]:
    """A job's transitions in order. Raises Problem where they do not come in time."""
    async with desk.kept.histories:
        try:
            return await asyncio.to_thread(desk.ports.history, row)
        except TimeoutError as error:
            raise Problem(504, str(error)) from error


async def _drawn(desk: Desk, request: Request) -> Drawn:
    """The job drawn again, by the command; kept, for an ended job stays as it is."""
    row = job_of(desk, id_of(request, "id"))
    if row.state not in ENDED:
        raise Problem(409, f"the job is {row.state}: it can be drawn once it has ended")
    problem = number_of(request, "problem", -1, PROBLEMS_MAX - 1)
    key = (row.job_id, row.updated_ms, problem)
    async with desk.kept.drawing:
        found = desk.kept.drawn.get(key)
        if found is None:
            found = await _draw(desk, row, problem)
            desk.kept.keep(key, found)
            # Its picture is asked for next, by the number that this has told.
            desk.kept.keep((row.job_id, row.updated_ms, _number(found.said)), found)
    return found


class _Problem(msgspec.Struct, frozen=True):
    number: int


class _Explained(msgspec.Struct, frozen=True):
    """What is looked at of a drawn job: which of its problems is shown."""

    problem: _Problem


def _number(said: bytes) -> int:
    return msgspec.json.decode(said, type=_Explained).problem.number


async def _draw(desk: Desk, row: JobRow, problem: int) -> Drawn:
    with tempfile.TemporaryDirectory(prefix="enrichment-console-") as folder:
        svg = Path(folder) / "circuit.svg"
        arguments = ["jobs", "explain", f"--pipeline={desk.pipeline_argument}", "--json"]
        if problem >= 0:
            arguments.append(f"--problem={problem}")
        if row.provider not in UNDRAWN:
            arguments.append(f"--svg={svg}")
        said = await desk.ports.commands.run(*arguments, "--", row.job_id)
        _told(said.out, said.code, said.error)
        drawing = svg.read_bytes() if svg.exists() else b""
    return Drawn(said.out, drawing if len(drawing) <= COMMAND_BYTES_MAX else b"")


def _told(out: bytes, code: int, error: str) -> Response:
    """What a command told as JSON, whatever it found; raises Problem where it told nothing."""
    if out.lstrip()[:1] == b"{":
        return Response(out, 200, {"cache-control": "no-store"}, "application/json")
    said = error or out.decode(errors="replace").strip() or f"the command ended with {code}"
    # What a command says in words and without an error is why there is nothing to tell.
    raise Problem(404 if code == EXIT_UNKNOWN or (out and not error) else 502, said)
