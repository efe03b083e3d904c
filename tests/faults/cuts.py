"""The network cut: between workers and broker, workers and Redis, workers and the provider.

Worker and projector go through the proxy; the source, the checks, and a second worker do not.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from enrichment.lab.ports import LOOPBACK
from tests.faults.brokers import supervised_s
from tests.faults.fault import Fault, Figures, Terms
from tests.faults.proxied import ProxiedServers, proxied_servers
from tests.faults.proxy import BOTH, MISSING, Cut, Link, Way, available
from tests.faults.vendor import Manner
from tests.faults.world import Ground, World, ground_of

CUT_S: Final = 9.0  # longer than a session (6 s), and than three calls to a coordinator
CALL_CUT_S: Final = 4.0
TAKEN_OVER_S: Final = 40.0

# Jobs are at the provider, and their answers on the way, when the line goes.
TERMS: Final = Terms(manner=Manner(run_s=0.6))


@dataclass(slots=True, kw_only=True)
class ProxiedGround(Ground):
    """Servers and a vendor that workers see through links."""

    proxied: ProxiedServers
    vendor_link: Link


@contextmanager
def proxied_ground(folder: Path) -> Iterator[Ground]:
    """Servers, vendor and proxy of one's own while the block runs."""
    with proxied_servers(folder) as proxied, ground_of(proxied.servers, folder) as plain:
        link = proxied.proxies.link(f"{LOOPBACK}:{plain.vendor.port}")
        yield ProxiedGround(
            servers=plain.servers,
            vendor=plain.vendor,
            folder=folder,
            kafka=proxied.kafka.address,
            redis_url=proxied.redis_url,
            vendor_port=link.port,
            proxied=proxied,
            vendor_link=link,
        )


@dataclass(frozen=True, slots=True)
class Line:
    """One cut: of which link, which ways, how, and for how long."""

    link: Callable[[ProxiedGround], Link]
    ways: tuple[Way, ...]
    by: Cut = Cut.LOSS
    seconds: float = CUT_S

    def cut(self, world: World) -> Link:
        """Cut it; the link, to be healed."""
        ground = world.ground
        assert isinstance(ground, ProxiedGround)
        link = self.link(ground)
        link.cut(*self.ways, by=self.by)
        return link


def healed(line: Line) -> Callable[[World], Figures]:
    """Cut for a while; how long after healing the ledger goes on."""

    def do(world: World) -> Figures:
        link = line.cut(world)
        time.sleep(line.seconds)
        link.heal()
        healed_ms = time.time_ns() // 1_000_000
        return {"recovery_s": supervised_s(world, healed_ms)}

    return do


def taken_over(line: Line, *, heals: bool) -> Callable[[World], Figures]:
    """Cut, and a second worker and projector that can reach all: when the ledger goes on.

    Where it heals, what the first one had sent arrives when the second is at work.
    """

    def do(world: World) -> Figures:
        ground = world.ground
        link = line.cut(world)
        cut_ms = time.time_ns() // 1_000_000
        direct = {"ENRICHMENT_KAFKA_BOOTSTRAP": ground.servers.bootstrap}
        if world.projector is not None:
            world.projector.kill()
        world.projector = world.start_stage("project", ENRICHMENT_INSTANCE="two", **direct)
        world.start_worker("two", **direct)
        # Records of now, in every partition: the first one may have written in the first second.
        recovery_s = world.progress_s(cut_ms + 1_000, TAKEN_OVER_S) + 1.0
        if heals:  # at once: a transaction that was held must not have been timed out before
            link.heal()
        world.await_jobs(6, TAKEN_OVER_S)
        return {"taken_over_s": recovery_s}

    return do


def _kafka(ground: ProxiedGround) -> Link:
    return ground.proxied.kafka


def _redis(ground: ProxiedGround) -> Link:
    return ground.proxied.redis


def _vendor(ground: ProxiedGround) -> Link:
    return ground.vendor_link


def _fault(name: str, what: str, do: Callable[[World], Figures], terms: Terms = TERMS) -> Fault:
    return Fault(
        name=name,
        what=what,
        do=do,
        terms=terms,
        heal_s=60.0,
        ground=proxied_ground,
        without=lambda: "" if available() else MISSING,
    )


UP: Final = (Way.TO_SERVER,)
DOWN: Final = (Way.TO_CLIENT,)

FAULTS: Final = (
    _fault(
        "cut to the broker",
        "for 9 s nothing of the worker's reaches the broker",
        healed(Line(_kafka, UP)),
    ),
    _fault(
        "cut from the broker",
        "for 9 s the broker hears the worker, and its answers are lost",
        healed(Line(_kafka, DOWN)),
    ),
    _fault(
        "cut from the broker both ways",
        "for 9 s nothing passes between worker and broker",
        healed(Line(_kafka, BOTH)),
    ),
    _fault(
        "delay to the broker",
        "for 9 s what the worker sends is held, then it all arrives",
        healed(Line(_kafka, UP, Cut.DELAY)),
    ),
    _fault(
        "cut from the broker for good",
        "nothing passes any more between worker and broker; another worker takes over",
        taken_over(Line(_kafka, BOTH), heals=False),
    ),
    _fault(
        "answers of the broker cut for good",
        "the broker hears the worker, whose answers are lost; another worker takes over",
        taken_over(Line(_kafka, DOWN), heals=False),
    ),
    _fault(
        "delay to the broker and takeover",
        "what the worker has sent arrives when another has taken over",
        taken_over(Line(_kafka, UP, Cut.DELAY), heals=True),
    ),
    _fault(
        "cut to Redis",
        "for 9 s nothing of worker's and projector's reaches Redis",
        healed(Line(_redis, UP)),
    ),
    _fault(
        "cut from Redis",
        "for 9 s Redis hears them, and its answers are lost",
        healed(Line(_redis, DOWN)),
    ),
    _fault(
        "delay to Redis",
        "for 9 s what they write is held, then it all arrives",
        healed(Line(_redis, UP, Cut.DELAY)),
    ),
    _fault(
        "cut to the provider",
        "for 4 s no order reaches the provider",
        healed(Line(_vendor, UP, seconds=CALL_CUT_S)),
    ),
    _fault(
        "cut from the provider",
        "for 4 s the provider accepts, and its answers are lost",
        healed(Line(_vendor, DOWN, seconds=CALL_CUT_S)),
    ),
)
