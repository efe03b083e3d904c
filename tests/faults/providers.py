"""The provider slow, away, over quota, out of its mind, or silent after it has accepted."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from msgspec.structs import replace as changed

from tests.faults.fault import Fault, Figures, Terms
from tests.faults.kills import killed_at
from tests.faults.vendor import Manner
from tests.faults.world import World

SPELL_S: Final = 4.0
ROUNDS: Final = 3
FAILED: Final = 4  # in a row: at the fifth the provider is left alone (`sample.chain`)
LOSS_S: Final = 40.0  # the first fallback waits for a process of its own to start
LOST: Final = 5
WHOLE: Final = 64  # problems of one order

BRISK: Final = Terms(manner=Manner(run_s=0.1))
HURRIED: Final = replace(BRISK, deadline_ms=4_000)
"""A deadline that passes while the fault lasts, so that fallbacks are seen to come."""


def spell(manner: Manner, seconds: float = SPELL_S) -> Callable[[World], Figures]:
    """The provider is so for a while."""

    def do(world: World) -> Figures:
        begun_ms = time.time_ns() // 1_000_000
        world.behave(manner)
        time.sleep(seconds)
        world.behave(world.terms.manner)
        ended = Counter(one.head.state for one in world.watch.of("sampling.jobs", begun_ms))
        return {"fallbacks": float(ended["fallback_complete"])}

    return do


def counted(manner: Manner) -> Callable[[World], Figures]:
    """The next few jobs fail there, or their answers do not arrive."""

    def do(world: World) -> Figures:
        world.behave(manner)
        world.until("all of it is done", lambda: not world.service.left_to_do(), LOSS_S)
        world.await_jobs()
        return {}

    return do


def failed_there(world: World) -> Figures:
    """Jobs fail by the provider's own fault, and others succeed, in turn."""
    for _ in range(ROUNDS):
        counted(changed(world.terms.manner, fail=FAILED))(world)
    return {}


def lost_at_ionq(world: World) -> Figures:
    """The same where ids are not ours: what was sent is in doubt, and the fallback answers."""
    begun_ms = time.time_ns() // 1_000_000
    world.behave(changed(world.terms.manner, lose=LOST))
    world.until("answers get lost", lambda: not world.service.left_to_do(), LOSS_S)

    def fallen_back() -> int:
        states = (one.head.state for one in world.watch.of("sampling.jobs", begun_ms))
        return sum(state == "fallback_complete" for state in states)

    world.until("fallbacks", lambda: fallen_back() >= LOST, LOSS_S)
    return {"fallbacks": float(fallen_back())}


FAULTS: Final = (
    Fault(
        name="accepted, answer lost",
        what=f"{LOST} orders are accepted and their answers are lost",
        do=counted(changed(BRISK.manner, lose=LOST, run_s=1.0)),
        terms=BRISK,
    ),
    Fault(
        name="samples lost",
        what=f"{LOST} answers with samples are lost",
        do=counted(changed(BRISK.manner, lose_samples=LOST)),
        terms=BRISK,
        times=1,
    ),
    Fault(
        name="jobs fail there",
        what=f"{ROUNDS} times {FAILED} accepted jobs fail there, and are tried anew",
        do=failed_there,
        terms=BRISK,
        times=1,
    ),
    Fault(
        name="provider down",
        what=f"503 to everything for {2 * SPELL_S:.0f} s, longer than the deadline",
        do=spell(Manner(down=True), 2 * SPELL_S),
        terms=HURRIED,
        times=1,
    ),
    Fault(
        name="provider hangs",
        what=f"no call is answered for {3 * SPELL_S:.0f} s, longer than a call may take",
        do=spell(Manner(hang_s=3 * SPELL_S), 3 * SPELL_S),
        terms=HURRIED,
        times=1,
    ),
    Fault(
        name="provider slow",
        what="a queue of 30 s at a deadline of 4 s, and cancelling takes 2 s",
        do=spell(Manner(queue_s=30.0, cancel_s=2.0), 2 * SPELL_S),
        terms=HURRIED,
        times=1,
    ),
    Fault(
        name="over quota",
        what=f"429 to every order for {SPELL_S:.0f} s",
        do=spell(Manner(over_quota=True)),
        terms=BRISK,
        times=1,
    ),
    Fault(
        name="half over quota",
        what="of two orders of one attempt the second gets 429, the first runs on",
        do=spell(Manner(refuse_from=WHOLE, run_s=3.0, cancel_s=1.0), 2 * SPELL_S),
        terms=replace(BRISK, problems=WHOLE + 6, every_s=2.5),
        times=1,
    ),
    *(
        Fault(
            name=f"garbage ({kind})",
            what=f"the samples' answer is garbage for {SPELL_S:.0f} s: {said}",
            do=spell(changed(BRISK.manner, garbage=kind)),
            terms=BRISK,
            times=1,
        )
        for kind, said in (
            ("text", "a page of HTML"),
            ("shape", "a shot is missing"),
            ("few", "a problem is missing"),
        )
    ),
    Fault(
        name="ionq: answer lost",
        what=f"{LOST} orders are accepted and their answers are lost; no id of ours is known there",
        do=lost_at_ionq,
        terms=replace(BRISK, provider="ionq", every_s=1.5),
        times=1,
    ),
    *(
        Fault(
            name=f"ionq: kill submitted {when}",
            what=f"kill -9 {when} the order is accepted where no id of ours is known",
            do=killed_at(f"submitted:{when}"),
            terms=replace(BRISK, provider="ionq", every_s=1.5, cold=True),
            times=1,
        )
        for when in ("before", "after")
    ),
)
