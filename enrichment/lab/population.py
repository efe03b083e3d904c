"""The people of a simulated stream: accounts, what they own, whom they pay, what they share."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from enrichment.lab.scenario import REGIONS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

REGION_SHARE: Final = (0.4, 0.3, 0.2, 0.1)
ACTIVITY_SIGMA: Final = 0.6  # of a lognormal: the busiest tenth pays about five times the idlest
MERCHANTS_MIN: Final = 40
ACCOUNTS_PER_MERCHANT: Final = 20
ACCOUNTS_PER_PERSON: Final = 2
SECOND_DEVICE_SHARE: Final = 0.4
FAVOURITE_MERCHANTS: Final = 5
FAVOURITE_PERSONS: Final = 2
AMOUNT_LOG_MEAN: Final = 3.2  # a median of about 25 in major units
AMOUNT_LOG_SPREAD: Final = 0.5  # between accounts
CURRENCIES: Final = ("EUR", "GBP", "USD")
CURRENCY_SHARE: Final = (0.86, 0.08, 0.06)
CHANNELS: Final = ("app", "web", "terminal")
CHANNEL_SHARE: Final = (0.55, 0.35, 0.10)


class Slot(IntEnum):
    """What an account can be a member of: at most one group of each slot."""

    RING = 0
    HOUSEHOLD = 1
    PLACE = 2
    PAYEE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Accounts that share devices, beneficiaries or both, guilty or not.

    A member's payment is a payment *of the group* with probability ``share`` (from ``active_from``
    on, a share of the stream's length); such a payment uses one of the group's devices with
    probability ``device_share`` and one of its beneficiaries with ``beneficiary_share``, and else
    what the member owns or favours. All are indices into the population.
    """

    kind: str
    slot: Slot
    region: int
    members: tuple[int, ...]
    devices: tuple[int, ...]
    beneficiaries: tuple[int, ...]
    share: float
    device_share: float
    beneficiary_share: float
    active_from: float = 0.0


class Names:
    """Opaque ids: nothing about an entity can be told from its id, nor from the ids' order."""

    __slots__ = ("_factor", "_mask")

    BITS: Final = 48

    def __init__(self, rng: np.random.Generator) -> None:
        # An odd factor and a mask make a bijection of 48 bits: no two indices share an id.
        self._factor = int(rng.integers(1 << (self.BITS - 1), 1 << self.BITS)) | 1
        self._mask = int(rng.integers(1 << self.BITS))

    def of(self, letter: str, index: int) -> str:
        """The id of the index-th entity of a kind; distinct indices have distinct ids."""
        mixed = ((index + 1) * self._factor & ((1 << self.BITS) - 1)) ^ self._mask
        return f"{letter}{mixed:012x}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """Accounts as arrays, one place each, and the numbers of entities that they use.

    ``own_devices`` and ``favourites`` have shape (accounts, most of them); rows shorter than that
    repeat an entry. Beneficiaries below ``merchants`` are merchants, popular ones first, then
    persons; groups add their own devices and beneficiaries behind these.
    """

    region: Ints
    activity: Floats  # cumulative, ends at 1
    own_devices: Ints
    favourites: Ints
    amount_log_mean: Floats
    currency: Ints
    channel: Ints
    merchants: int
    persons: int
    devices: int
    popularity: Floats  # of merchants, cumulative, ends at 1

    @property
    def accounts(self) -> int:
        """How many accounts there are."""
        return len(self.region)

    @property
    def beneficiaries(self) -> int:
        """How many beneficiaries there are before groups add theirs."""
        return self.merchants + self.persons


def cumulative(weights: Floats) -> Floats:
    """Cumulative shares of weights, for drawing by binary search; the last is exactly 1."""
    sums = np.cumsum(weights, dtype=np.float64)
    shares: Floats = sums / sums[-1]
    return shares


def settle(rng: np.random.Generator, accounts: int) -> Population:
    """A population without groups."""
    merchants = max(MERCHANTS_MIN, accounts // ACCOUNTS_PER_MERCHANT)
    persons = max(1, accounts // ACCOUNTS_PER_PERSON)
    # Zipf's law with exponent one: a few utilities and shops that everybody pays, a long tail.
    popularity = cumulative(1.0 / np.arange(1, merchants + 1))
    has_second = rng.random(accounts) < SECOND_DEVICE_SHARE
    first = np.arange(accounts)
    second = np.where(has_second, accounts + np.cumsum(has_second) - 1, first)
    shops = np.searchsorted(popularity, rng.random((accounts, FAVOURITE_MERCHANTS)), side="right")
    friends = merchants + rng.integers(persons, size=(accounts, FAVOURITE_PERSONS))
    return Population(
        region=rng.choice(len(REGIONS), size=accounts, p=REGION_SHARE),
        activity=cumulative(rng.lognormal(0.0, ACTIVITY_SIGMA, accounts)),
        own_devices=np.stack([first, second], axis=1),
        favourites=rng.permuted(np.concatenate([shops, friends], axis=1), axis=1),
        amount_log_mean=rng.normal(AMOUNT_LOG_MEAN, AMOUNT_LOG_SPREAD, accounts),
        currency=rng.choice(len(CURRENCIES), size=accounts, p=CURRENCY_SHARE),
        channel=rng.choice(len(CHANNELS), size=accounts, p=CHANNEL_SHARE),
        merchants=merchants,
        persons=persons,
        devices=accounts + int(has_second.sum()),
        popularity=popularity,
    )


class Registry:
    """Hands out accounts to groups, each at most once a slot, and numbers for what groups share."""

    __slots__ = ("_free", "_rng", "beneficiaries", "devices")

    def __init__(self, rng: np.random.Generator, population: Population) -> None:
        self._rng = rng
        self.devices = population.devices
        self.beneficiaries = population.beneficiaries
        self._free: dict[Slot, list[list[int]]] = {}
        for slot in Slot:
            mixed = rng.permutation(population.accounts)
            of_region = population.region[mixed]
            self._free[slot] = [mixed[of_region == r].tolist() for r in range(len(REGIONS))]

    def size(self, bounds: tuple[int, int]) -> int:
        """A group's size, within bounds that count."""
        return int(self._rng.integers(bounds[0], bounds[1] + 1))

    def region(self, slot: Slot) -> int:
        """A region, likelier the more of its accounts are still free in the slot."""
        left = np.array([len(accounts) for accounts in self._free[slot]], dtype=np.float64)
        return int(self._rng.choice(len(left), p=left / left.sum()))

    def members(self, slot: Slot, region: int, size: int, strangers: float = 0.0) -> list[int]:
        """Free accounts, mostly of one region, some with a chance ``strangers`` from others.

        Where the region has too few left, the fullest other one gives. The caller has made sure
        that accounts do not run out (``SimulationSettings``).
        """
        free = self._free[slot]
        chosen = []
        for _ in range(size):
            source = region
            if not free[source] or self._rng.random() < strangers:
                others = [r for r in range(len(free)) if r != region and free[r]]
                source = max(others, key=lambda r: len(free[r])) if others else region
            chosen.append(free[source].pop())
        return chosen

    def new_devices(self, count: int) -> tuple[int, ...]:
        """Devices that no account owns."""
        self.devices += count
        return tuple(range(self.devices - count, self.devices))

    def new_beneficiaries(self, count: int) -> tuple[int, ...]:
        """Beneficiaries that no account favours."""
        self.beneficiaries += count
        return tuple(range(self.beneficiaries - count, self.beneficiaries))


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTable:
    """All groups as arrays, so that a chunk of payments can be drawn at once.

    ``of_account`` has shape (accounts, slots), -1 where there is none. Devices and beneficiaries
    are padded with -1 to a rectangle; their counts say how far each row is filled.
    """

    of_account: Ints
    share: Floats
    device_share: Floats
    beneficiary_share: Floats
    active_from: Floats
    devices: Ints
    device_count: Ints
    beneficiaries: Ints
    beneficiary_count: Ints

    @staticmethod
    def of(groups: Sequence[Group], accounts: int) -> "GroupTable":
        """The table of the groups, in their order."""
        of_account = np.full((accounts, len(Slot)), -1, dtype=np.int64)
        for number, group in enumerate(groups):
            of_account[list(group.members), group.slot] = number
        devices, device_count = _rectangle([group.devices for group in groups])
        beneficiaries, beneficiary_count = _rectangle([group.beneficiaries for group in groups])
        return GroupTable(
            of_account=of_account,
            share=_column([group.share for group in groups]),
            device_share=_column([group.device_share for group in groups]),
            beneficiary_share=_column([group.beneficiary_share for group in groups]),
            active_from=_column([group.active_from for group in groups]),
            devices=devices,
            device_count=device_count,
            beneficiaries=beneficiaries,
            beneficiary_count=beneficiary_count,
        )


def _column(values: list[float]) -> Floats:
    """A column with a zero behind it, which index -1 ("no group") reads."""
    return np.array([*values, 0.0], dtype=np.float64)


def _rectangle(rows: Sequence[tuple[int, ...]]) -> tuple[Ints, Ints]:
    """Ragged rows padded with -1, an empty one behind them for index -1, and their lengths."""
    counts = np.array([*(len(row) for row in rows), 0], dtype=np.int64)
    filled = np.full((len(counts), max(int(counts.max()), 1)), -1, dtype=np.int64)
    for number, row in enumerate(rows):
        filled[number, : len(row)] = row
    return filled, counts
