"""Endpoints that do something: the project's own commands, for whoever may."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from enrichment.console.access import COOKIE, CSRF_HEADER, Shown
from enrichment.console.commands import Said
from enrichment.console.desk import Desk
from enrichment.console.limits import SESSION_S
from enrichment.console.problems import Problem, json_response
from enrichment.console.requests import body_of
from enrichment.console.shapes import (
    CapName,
    GiveOrder,
    GiveVerdict,
    PullSwitch,
    Restore,
    SessionShown,
    SignIn,
)

EXIT_MISUSE: Final = 2
EXIT_REFUSED: Final = 3
EXIT_UNHEARD: Final = 4
WAIT_S: Final = 5  # for a worker's word about an order; it is carried out later, too


def may_act(desk: Desk, request: Request) -> None:
    """Raises Problem where whoever asks may not."""
    shown = Shown(
        authorization=request.headers.get("authorization", ""),
        cookie=request.cookies.get(COOKIE, ""),
        csrf=request.headers.get(CSRF_HEADER, ""),
        origin=request.headers.get("origin", ""),
        host=request.headers.get("host", ""),
    )
    refusal = desk.access.refusal(shown, desk.clocks.now_s())
    if refusal is not None:
        raise Problem(refusal.status, refusal.why)


async def order(desk: Desk, request: Request) -> Response:
    """Try a job again, or want no answer of it any more."""
    given = await body_of(request, GiveOrder)
    if given.job_id not in desk.known.jobs.rows:
        raise Problem(404, f"there is no job '{given.job_id}' of {desk.pipeline.name}")
    return _done(
        await desk.ports.commands.run(
            "jobs", given.order.value, f"--by={given.by}", f"--reason={given.reason}",
            "--yes", f"--wait={WAIT_S}", "--json", "--", given.job_id,
        )
    )  # fmt: skip


async def verdict(desk: Desk, request: Request) -> Response:
    """Confirm or dismiss a case."""
    given = await body_of(request, GiveVerdict)
    again = ["--again"] if given.again else []
    return _done(
        await desk.ports.commands.run(
            "cases", given.verdict.value, f"--pipeline={desk.pipeline_argument}",
            f"--by={given.by}", f"--note={given.note}", *again, "--json", "--", given.case_id,
        )
    )  # fmt: skip


async def kill(desk: Desk, request: Request) -> Response:
    """Pull the kill switch."""
    given = await body_of(request, PullSwitch)
    above = "classical" if given.serve is CapName.HEURISTIC else "quantum"
    return _done(
        await desk.ports.commands.run(
            "rollout", "kill", f"--pipeline={desk.pipeline_argument}", f"--path={above}",
            f"--by={given.by}", f"--reason={given.reason}", "--json",
        )
    )  # fmt: skip


async def restore(desk: Desk, request: Request) -> Response:
    """Lift the kill switch."""
    given = await body_of(request, Restore)
    return _done(
        await desk.ports.commands.run(
            "rollout", "restore", f"--pipeline={desk.pipeline_argument}",
            f"--by={given.by}", f"--reason={given.reason}", "--json",
        )
    )  # fmt: skip


async def session(desk: Desk, request: Request) -> Response:
    """Whether this page may act."""
    found = desk.access.session(request.cookies.get(COOKIE, ""), desk.clocks.now_s())
    return json_response(
        SessionShown(
            can_act=desk.access.can_act,
            signed_in=found is not None,
            csrf="" if found is None else found.csrf,
        )
    )


async def sign_in(desk: Desk, request: Request) -> Response:
    """Exchange the token for a session of this browser."""
    given = await body_of(request, SignIn)
    if not desk.access.can_act:
        raise Problem(403, "this console is read-only: ENRICHMENT_CONSOLE_TOKEN is not set")
    made = desk.access.sign_in(given.token, desk.clocks.now_s())
    if made is None:
        raise Problem(401, "that is not the console's token")
    response = json_response(SessionShown(can_act=True, signed_in=True, csrf=made.csrf))
    response.set_cookie(
        COOKIE,
        made.session_id,
        max_age=int(SESSION_S),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


async def sign_out(desk: Desk, request: Request) -> Response:
    """End this browser's session."""
    desk.access.sign_out(request.cookies.get(COOKIE, ""))
    response = json_response(SessionShown(can_act=desk.access.can_act, signed_in=False))
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


def _done(said: Said) -> Response:
    """What the command did; raises Problem where it did nothing."""
    is_json = said.out.lstrip()[:1] == b"{"
    if is_json and said.code in {0, EXIT_UNHEARD}:
        # Given and not yet heard of: it will be.
        status = 202 if said.code == EXIT_UNHEARD else 200
        return Response(said.out, status, {"cache-control": "no-store"}, "application/json")
    if is_json and said.code == EXIT_REFUSED:
        return Response(said.out, 409, {"cache-control": "no-store"}, "application/json")
    why = said.error or f"the command ended with {said.code}"
    raise Problem(409 if said.code == EXIT_MISUSE else 502, why)
