"""A seeded payment stream with rings, decoys, late outcomes and the truth about them.

``simulate`` gives the payments, ``timeline`` the same with outcomes and malformed records at the
times they come, ``ground_truth`` who was in what. All three are functions of the settings alone.
"""

import heapq
import random
import re
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

import msgspec
import numpy as np

from enrichment.lab.draw import ORIGINS, Bools, Columns, World, create_world, draw
from enrichment.lab.population import CHANNELS, CURRENCIES, Group, Ints, Names
from enrichment.lab.rings import RING
from enrichment.lab.scenario import REGIONS, SimulationSettings
from enrichment.lab.spoil import Spoiled, spoil

_EVENT_ID: Final = re.compile(r"p-([0-9a-f]{12})-\d{9}")


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """One payment as it is published; ``amount`` in major units with two places."""

    event_id: str
    account_id: str
    occurred_at: int  # milliseconds since the epoch
    amount: float
    currency: str
    device_id: str
    beneficiary_id: str
    region: str
    channel: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became known of a payment, and when; a later one of the same event corrects it."""

    event_id: str
    account_id: str
    is_fraud: bool
    decided_at: int  # milliseconds since the epoch


class Simulated(msgspec.Struct, frozen=True, kw_only=True):
    """A payment and what only the simulation knows of it.

    ``origin`` is one of ``draw.ORIGINS``, ``group`` the id of the ring or decoy it belongs to
    ("" for none), ``outcomes`` what will become known of it, in order, mostly nothing.
    """

    payment: Payment
    is_fraud: bool
    origin: str
    group: str
    outcomes: tuple[Outcome, ...]


class Ring(msgspec.Struct, frozen=True, kw_only=True):
    """A planted collusive ring."""

    ring_id: str
    members: tuple[str, ...]
    devices: tuple[str, ...]
    beneficiaries: tuple[str, ...]
    region: str
    active_from_ms: int


class Decoy(msgspec.Struct, frozen=True, kw_only=True):
    """A planted innocent group: ``kind`` is family, kiosk, office, payee or club."""

    decoy_id: str
    kind: str
    members: tuple[str, ...]
    devices: tuple[str, ...]
    beneficiaries: tuple[str, ...]
    region: str


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """All that was planted in a scenario."""

    rings: tuple[Ring, ...]
    decoys: tuple[Decoy, ...]


class _Labels:
    """The ids of a scenario's entities, groups and events."""

    def __init__(self, settings: SimulationSettings, world: World) -> None:
        rng = np.random.default_rng([settings.seed, 4])
        accounts, self._devices, beneficiaries = Names(rng), Names(rng), Names(rng)
        self.accounts = [accounts.of("a", i) for i in range(world.population.accounts)]
        self.beneficiaries = [beneficiaries.of("b", i) for i in range(world.beneficiaries)]
        self._known_devices = [self._devices.of("d", i) for i in range(world.devices)]
        self.groups = [f"{g.kind}-{i:05d}" for i, g in enumerate(world.groups)] + [""]
        self._run = run_of_seed(settings.seed)

    def device(self, index: int) -> str:
        """A device's id, also that of a guest's."""
        known = self._known_devices
        return known[index] if index < len(known) else self._devices.of("d", index)

    def event(self, number: int) -> str:
        """The id of the number-th payment: unique within a seed and, but for luck, between."""
        return f"p-{self._run}-{number:09d}"


def run_of_seed(seed: int) -> str:
    """What the ids of that seed's payments have in common: a seed shows in all that came of it."""
    return blake2b(f"payments {seed}".encode(), digest_size=6).hexdigest()


def run_of_event(event_id: str) -> str | None:
    """The run that a simulated payment's id tells of; None for any other event."""
    found = _EVENT_ID.fullmatch(event_id)
    return None if found is None else found[1]


def simulate(settings: SimulationSettings) -> Iterator[Simulated]:
    """The payments of a scenario in order of event time, drawn as they are asked for."""
    world = create_world(settings)
    labels = _Labels(settings, world)
    number = 0
    for chunk, columns in enumerate(draw(settings, world)):
        yield from _payments(settings, world, labels, columns, (chunk, number))
        number += len(columns)


def timeline(settings: SimulationSettings) -> Iterator[tuple[int, Simulated | Outcome | Spoiled]]:
    """Payments, malformed records and outcomes with the time each is due, in order of that time.

    Outcomes due after the last payment come at the end. Those that wait are held in memory: a few
    for each hundred payments of one mean delay.
    """
    waiting: list[tuple[int, str, int, Outcome]] = []
    spoiling = random.Random(f"spoiled {settings.seed}")  # noqa: S311  # a simulation's draw
    for simulated in simulate(settings):
        at_ms = simulated.payment.occurred_at
        while waiting and waiting[0][0] <= at_ms:
            due_ms, _, _, outcome = heapq.heappop(waiting)
            yield due_ms, outcome
        yield at_ms, simulated
        if settings.bad_share and spoiling.random() < settings.bad_share:
            payment = simulated.payment
            yield at_ms, spoil(payment.account_id, msgspec.to_builtins(payment), spoiling)
        for order, outcome in enumerate(simulated.outcomes):
            entry = (outcome.decided_at, outcome.event_id, order, outcome)
            heapq.heappush(waiting, entry)
    while waiting:
        due_ms, _, _, outcome = heapq.heappop(waiting)
        yield due_ms, outcome


def ground_truth(settings: SimulationSettings) -> Truth:
    """The rings and decoys of a scenario, named as its payments name them."""
    world = create_world(settings)
    labels = _Labels(settings, world)
    rings, decoys = [], []
    for group_id, group in zip(labels.groups[:-1], world.groups, strict=True):
        members, devices, beneficiaries = _shared(labels, group)
        region = REGIONS[group.region]
        if group.kind == RING:
            length_ms = settings.end_ms - settings.start_ms
            rings.append(
                Ring(
                    ring_id=group_id,
                    members=members,
                    devices=devices,
                    beneficiaries=beneficiaries,
                    region=region,
                    active_from_ms=settings.start_ms + int(group.active_from * length_ms),
                )
            )
        else:
            decoys.append(
                Decoy(
                    decoy_id=group_id,
                    kind=group.kind,
                    members=members,
                    devices=devices,
                    beneficiaries=beneficiaries,
                    region=region,
                )
            )
    return Truth(rings=tuple(rings), decoys=tuple(decoys))


def _shared(
    labels: _Labels, group: Group
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    return (
        tuple(labels.accounts[i] for i in group.members),
        tuple(labels.device(i) for i in group.devices),
        tuple(labels.beneficiaries[i] for i in group.beneficiaries),
    )


def _payments(
    settings: SimulationSettings,
    world: World,
    labels: _Labels,
    columns: Columns,
    position: tuple[int, int],
) -> Iterator[Simulated]:
    """A chunk's columns as records; ``position`` is the chunk's number and its first payment's."""
    chunk, first = position
    people = world.population
    known = _decide(settings, columns, labels, chunk, first)
    rows = zip(
        columns.at_ms.tolist(),
        columns.account.tolist(),
        columns.amount.tolist(),
        people.currency[columns.account].tolist(),
        columns.device.tolist(),
        columns.beneficiary.tolist(),
        people.region[columns.account].tolist(),
        columns.channel.tolist(),
        columns.is_fraud.tolist(),
        columns.origin.tolist(),
        columns.group.tolist(),
        strict=True,
    )
    for offset, row in enumerate(rows):
        at, account, amount, currency, device, beneficiary, region, channel = row[:8]
        is_fraud, origin, group = row[8:]
        payment = Payment(
            event_id=labels.event(first + offset),
            account_id=labels.accounts[account],
            occurred_at=at,
            amount=amount,
            currency=CURRENCIES[currency],
            device_id=labels.device(device),
            beneficiary_id=labels.beneficiaries[beneficiary],
            region=REGIONS[region],
            channel=CHANNELS[channel],
        )
        yield Simulated(
            payment=payment,
            is_fraud=is_fraud,
            origin=ORIGINS[origin],
            group=labels.groups[group],
            outcomes=known.get(offset, ()),
        )


def _decide(
    settings: SimulationSettings, columns: Columns, labels: _Labels, chunk: int, first: int
) -> dict[int, tuple[Outcome, ...]]:
    """The outcomes of those payments of a chunk of which anything ever becomes known."""
    rules, size = settings.outcomes, len(columns)
    rng = np.random.default_rng([settings.seed, 5, chunk])
    share = np.where(columns.is_fraud, rules.reported_share, rules.cleared_share)
    decided: Bools = rng.random(size) < share
    mistaken: Bools = rng.random(size) < rules.error_share
    delay_ms: Ints = 1 + rng.exponential(rules.delay_mean_s * 1000, (2, size)).astype(np.int64)
    found: dict[int, tuple[Outcome, ...]] = {}
    for offset in np.flatnonzero(decided).tolist():
        is_fraud = bool(columns.is_fraud[offset])
        at_ms = int(columns.at_ms[offset]) + int(delay_ms[0, offset])
        verdicts = [(is_fraud, at_ms)]
        if mistaken[offset]:
            verdicts = [(not is_fraud, at_ms), (is_fraud, at_ms + int(delay_ms[1, offset]))]
        found[offset] = tuple(
            Outcome(
                event_id=labels.event(first + offset),
                account_id=labels.accounts[int(columns.account[offset])],
                is_fraud=verdict,
                decided_at=decided_at,
            )
            for verdict, decided_at in verdicts
        )
    return found
