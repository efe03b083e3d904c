"""Payments drawn a chunk at a time, as columns: who pays whom, from where, how much."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from enrichment.lab.decoys import CLUB, FAMILY, KIOSK, OFFICE, PAYEE, plant_decoys
from enrichment.lab.lone import CARD_TEST, TAKEOVER, LoneFrauds, strike
from enrichment.lab.population import (
    CHANNEL_SHARE,
    CHANNELS,
    Floats,
    Group,
    GroupTable,
    Ints,
    Population,
    Registry,
    Slot,
    settle,
)
from enrichment.lab.rings import RING, plant_rings
from enrichment.lab.scenario import SimulationSettings

Bools = NDArray[np.bool_]

CHUNK_PAYMENTS: Final = 8_192  # arrays of 64 KiB: a chunk stays in the cache
OWN: Final = "own"
DECOYS: Final = (FAMILY.name, KIOSK.name, OFFICE.name, PAYEE.name, CLUB.name)
ORIGINS: Final = (OWN, RING, *DECOYS, CARD_TEST, TAKEOVER)
TERMINAL: Final = CHANNELS.index("terminal")

SECOND_DEVICE_USE: Final = 0.3
GUEST_DEVICE_SHARE: Final = 0.01  # a friend's telephone, a new one: a fresh device is no crime
ONE_OFF_SHARE: Final = 0.08  # payments to a merchant the account does not favour
OTHER_CHANNEL_SHARE: Final = 0.2
AMOUNT_LOG_SIGMA: Final = 0.8
AMOUNT_LOG_LIFT: Final = {RING: 0.25, PAYEE.name: 1.1}  # a rent is larger than any ring's payment
LIFT_OF_ORIGIN: Final = np.array([AMOUNT_LOG_LIFT.get(origin, 0.0) for origin in ORIGINS])
AMOUNT_BOUNDS: Final = (0.5, 100_000.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything of a scenario that is drawn before its first payment."""

    population: Population
    groups: tuple[Group, ...]
    table: GroupTable
    origin_of_group: Ints  # into ORIGINS; index -1 gives OWN
    lone: LoneFrauds
    lone_devices_from: int
    devices: int  # numbers below it are in use; guests get those from here on
    beneficiaries: int


def create_world(settings: SimulationSettings) -> World:
    """The world of a scenario; equal settings give equal worlds."""
    population = settle(_generator(settings, 0), settings.accounts)
    rng = _generator(settings, 1)
    registry = Registry(rng, population)
    groups = (
        *plant_rings(rng, settings, population, registry),
        *plant_decoys(rng, settings.decoy_counts, registry),
    )
    lone = strike(_generator(settings, 2), settings, population)
    lone_devices_from = registry.devices
    registry.new_devices(lone.devices)
    return World(
        population=population,
        groups=groups,
        table=GroupTable.of(groups, population.accounts),
        origin_of_group=np.array(
            [*(ORIGINS.index(group.kind) for group in groups), ORIGINS.index(OWN)], dtype=np.int64
        ),
        lone=lone,
        lone_devices_from=lone_devices_from,
        devices=registry.devices,
        beneficiaries=registry.beneficiaries,
    )


def _generator(settings: SimulationSettings, *stream: int) -> np.random.Generator:
    """An independent stream of random numbers of the scenario's seed."""
    return np.random.default_rng([settings.seed, *stream])


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Payments as columns of one length; entities and origins by number, group -1 for none."""

    at_ms: Ints
    account: Ints
    device: Ints
    beneficiary: Ints
    amount: Floats
    channel: Ints
    origin: Ints
    group: Ints
    is_fraud: Bools

    def __len__(self) -> int:
        return len(self.at_ms)

    def merged(self, other: "Columns") -> "Columns":
        """Both in time order; where times are equal, ours go first."""
        order = np.argsort(np.concatenate([self.at_ms, other.at_ms]), kind="stable")
        return Columns(
            **{
                one.name: np.concatenate([getattr(self, one.name), getattr(other, one.name)])[order]
                for one in fields(Columns)
            }
        )


def draw(settings: SimulationSettings, world: World) -> Iterator[Columns]:
    """Chunks of payments in time order.

    Payments arrive as a Poisson process: exponential gaps at the rate asked for. Memory is that of
    one chunk and the world.
    """
    mean_gap_ms = 1000.0 / settings.rate_per_s
    last_ms = float(settings.start_ms)
    lone_from, chunk = 0, 0
    while last_ms < settings.end_ms:
        rng = _generator(settings, 3, chunk)
        arrivals = last_ms + np.cumsum(rng.exponential(mean_gap_ms, CHUNK_PAYMENTS))
        last_ms = float(arrivals[-1])
        at_ms = np.floor(arrivals[arrivals < settings.end_ms]).astype(np.int64)
        guests = world.devices + chunk * CHUNK_PAYMENTS + np.arange(len(at_ms))
        ordinary = _ordinary(rng, settings, world, at_ms, guests)
        until_ms = math.floor(min(last_ms, settings.end_ms))
        lone_to = int(np.searchsorted(world.lone.at_ms, until_ms, side="left"))
        yield ordinary.merged(_lone(rng, world, slice(lone_from, lone_to)))
        lone_from, chunk = lone_to, chunk + 1


def _ordinary(
    rng: np.random.Generator,
    settings: SimulationSettings,
    world: World,
    at_ms: Ints,
    guests: Ints,
) -> Columns:
    """Payments of accounts' own and of groups; ``guests`` are device numbers never used before."""
    people, table, size = world.population, world.table, len(at_ms)
    account = np.searchsorted(people.activity, rng.random(size), side="right")
    progress = (at_ms - settings.start_ms) / (settings.end_ms - settings.start_ms)
    group = _groups(rng, table, account, progress)

    of_device = rng.random(size) < table.device_share[group]
    of_device &= table.device_count[group] > 0
    own = people.own_devices[account, (rng.random(size) < SECOND_DEVICE_USE).astype(np.int64)]
    own = np.where(rng.random(size) < GUEST_DEVICE_SHARE, guests, own)
    which = (rng.random(size) * table.device_count[group]).astype(np.int64)
    device = np.where(of_device, table.devices[group, which], own)

    of_beneficiary = rng.random(size) < table.beneficiary_share[group]
    of_beneficiary &= table.beneficiary_count[group] > 0
    # Squared: the first favourite is paid most, the last now and then.
    rank = (rng.random(size) ** 2 * people.favourites.shape[1]).astype(np.int64)
    usual = people.favourites[account, rank]
    one_off = np.searchsorted(people.popularity, rng.random(size), side="right")
    usual = np.where(rng.random(size) < ONE_OFF_SHARE, one_off, usual)
    which = (rng.random(size) * table.beneficiary_count[group]).astype(np.int64)
    beneficiary = np.where(of_beneficiary, table.beneficiaries[group, which], usual)

    origin = world.origin_of_group[group]
    # A member whose own device is the ring's is on a ring device without having borrowed it.
    on_shared = (table.devices[group] == device[:, np.newaxis]).any(axis=1)
    log_mean = people.amount_log_mean[account] + LIFT_OF_ORIGIN[origin]
    return Columns(
        at_ms=at_ms,
        account=account,
        device=device,
        beneficiary=beneficiary,
        amount=_money(rng.lognormal(log_mean, AMOUNT_LOG_SIGMA)),
        channel=np.where(
            origin == ORIGINS.index(KIOSK.name), TERMINAL, _channels(rng, people, account)
        ),
        origin=origin,
        group=group,
        is_fraud=(origin == ORIGINS.index(RING)) & on_shared & of_beneficiary,
    )


def _groups(rng: np.random.Generator, table: GroupTable, account: Ints, progress: Floats) -> Ints:
    """The group that each payment is of, -1 for none: an active ring first, else one decoy."""
    ring = table.of_account[account, Slot.RING]
    active = progress >= table.active_from[ring]
    group = np.where(active & (rng.random(len(account)) < table.share[ring]), ring, -1)
    left = rng.random(len(account))
    open_still = group < 0
    for slot in (Slot.HOUSEHOLD, Slot.PLACE, Slot.PAYEE):
        candidate = table.of_account[account, slot]
        share = table.share[candidate]
        group = np.where(open_still & (left >= 0) & (left < share), candidate, group)
        left = left - share
    return group


def _lone(rng: np.random.Generator, world: World, part: slice) -> Columns:
    """The lone frauds of a stretch of time."""
    lone = world.lone
    account = lone.account[part]
    size = len(account)
    return Columns(
        at_ms=lone.at_ms[part],
        account=account,
        device=world.lone_devices_from + lone.device[part],
        beneficiary=lone.beneficiary[part],
        amount=_money(lone.amount[part]),
        channel=_channels(rng, world.population, account),
        origin=np.where(lone.is_card_test[part], ORIGINS.index(CARD_TEST), ORIGINS.index(TAKEOVER)),
        group=np.full(size, -1),
        is_fraud=np.ones(size, dtype=np.bool_),
    )


def _channels(rng: np.random.Generator, people: Population, account: Ints) -> Ints:
    """Each account's usual channel, now and then another."""
    other = rng.choice(len(CHANNELS), size=len(account), p=CHANNEL_SHARE)
    channels: Ints = np.where(
        rng.random(len(account)) < OTHER_CHANNEL_SHARE, other, people.channel[account]
    )
    return channels


def _money(amount: Floats) -> Floats:
    """Amounts in major units with two places."""
    low, high = AMOUNT_BOUNDS
    return amount.clip(low, high).round(2)
