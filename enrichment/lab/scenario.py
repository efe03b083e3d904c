"""What a simulated payment stream is asked to contain."""

import math
from dataclasses import dataclass, field
from typing import Final

REGIONS: Final = ("north", "south", "east", "west")

FAMILY_SIZE: Final = (2, 5)
KIOSK_SIZE: Final = (10, 60)
OFFICE_SIZE: Final = (30, 120)
PAYEE_SIZE: Final = (40, 200)
CLUB_SIZE: Final = (8, 12)

# Accounts of one slot are disjoint: an account has one household, one place, one payee, one ring.
SLOT_SHARE_MAX: Final = 0.8


def _refuse(name: str, value: object, wanted: str) -> ValueError:
    return ValueError(f"{name} is {value}: it must be {wanted}")


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise _refuse(name, value, "between 0 and 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoyCounts:
    """How many innocent groups of each kind share what rings share.

    families: 2-5 accounts on shared devices, often with a landlord or school in common;
    kiosks: 10-60 accounts on one public terminal; offices: 30-120 accounts behind one address (an
    office's or a carrier's); payees: 40-200 accounts paying one landlord, utility or pension fund;
    clubs: 8-12 accounts paying one treasurer.
    """

    families: int
    kiosks: int
    offices: int
    payees: int
    clubs: int

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) < 0:
                raise _refuse(name, getattr(self, name), "0 or more")

    @staticmethod
    def for_accounts(accounts: int) -> "DecoyCounts":
        """Counts in proportion to a population: about a third of it in families."""
        return DecoyCounts(
            families=accounts // 11,
            kiosks=accounts // 400,
            offices=accounts // 800,
            payees=accounts // 500,
            clubs=accounts // 200,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeSettings:
    """When and how truly the outcome of a payment becomes known.

    Delays are exponential, with a mean of seconds in a demo and of days in life. Of frauds
    ``reported_share`` are ever confirmed, of other payments ``cleared_share`` are looked at and
    cleared; ``error_share`` of all verdicts are wrong first and corrected after another delay.
    """

    delay_mean_s: float = 5.0
    reported_share: float = 0.95
    cleared_share: float = 0.02
    error_share: float = 0.02

    def __post_init__(self) -> None:
        if not (math.isfinite(self.delay_mean_s) and self.delay_mean_s > 0):
            raise _refuse("delay_mean_s", self.delay_mean_s, "above 0")
        for name in ("reported_share", "cleared_share", "error_share"):
            _check_share(name, getattr(self, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationSettings:
    """A simulated payment stream, entirely: equal settings make equal bytes.

    ``ring_strength`` is the share of an active member's payments that go through the ring's devices
    or beneficiaries; ``lone_fraud_share`` the share of payments that belong to card tests and
    account take-overs, which no graph finds; ``bad_share`` the number of malformed records per
    payment, put in addition between the payments. ``decoys`` left out are scaled to ``accounts``.
    """

    seed: int
    seconds: float
    rate_per_s: float = 2_000.0
    start_ms: int = 0
    accounts: int = 10_000
    rings: int = 30
    ring_size: tuple[int, int] = (5, 10)
    ring_strength: float = 0.5
    lone_fraud_share: float = 0.0015
    bad_share: float = 0.0
    decoys: DecoyCounts | None = None
    outcomes: OutcomeSettings = field(default_factory=OutcomeSettings)

    def __post_init__(self) -> None:
        for name in ("seconds", "rate_per_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise _refuse(name, value, "above 0")
        for name in ("seed", "start_ms", "rings"):
            if getattr(self, name) < 0:
                raise _refuse(name, getattr(self, name), "0 or more")
        for name in ("ring_strength", "lone_fraud_share", "bad_share"):
            _check_share(name, getattr(self, name))
        low, high = self.ring_size
        if not 3 <= low <= high:
            raise _refuse("ring_size", self.ring_size, "two rising sizes of at least 3")
        if self.accounts < 20:
            raise _refuse("accounts", self.accounts, "at least 20")
        self._check_room()

    def _check_room(self) -> None:
        """Refuse groups that the accounts cannot fill."""
        decoys = self.decoy_counts
        room = int(self.accounts * SLOT_SHARE_MAX)
        for name, wanted in (
            ("rings", self.rings * self.ring_size[1]),
            ("families", decoys.families * FAMILY_SIZE[1]),
            ("kiosks and offices", decoys.kiosks * KIOSK_SIZE[1] + decoys.offices * OFFICE_SIZE[1]),
            ("payees and clubs", decoys.payees * PAYEE_SIZE[1] + decoys.clubs * CLUB_SIZE[1]),
        ):
            if wanted > room:
                message = (
                    f"{name} may need {wanted} of {self.accounts} accounts, of which at most "
                    f"{room} may be in one: ask for fewer or for more accounts"
                )
                raise ValueError(message)

    @property
    def decoy_counts(self) -> DecoyCounts:
        """The decoys asked for, or those that fit the number of accounts."""
        return DecoyCounts.for_accounts(self.accounts) if self.decoys is None else self.decoys

    @property
    def end_ms(self) -> int:
        """The first millisecond after the stream."""
        return self.start_ms + math.ceil(self.seconds * 1000)
