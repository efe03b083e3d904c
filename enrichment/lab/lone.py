"""Lone fraud: card tests and account take-overs, of one account each, that no graph finds."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from enrichment.lab.population import Floats, Ints, Population
from enrichment.lab.scenario import SimulationSettings

CARD_TEST: Final = "card_test"
TAKEOVER: Final = "takeover"

CARD_TEST_SHARE: Final = 0.4  # of incidents
CARD_TEST_SIZE: Final = (5, 12)
TAKEOVER_SIZE: Final = (1, 4)
CARD_TEST_GAP_MEAN_MS: Final = 700.0
TAKEOVER_GAP_MEAN_MS: Final = 4_000.0
CARD_TEST_AMOUNT: Final = (0.5, 5.0)  # as many coffees cost
TAKEOVER_LOG_LIFT: Final = 0.7  # twice the victim's usual: many honest payments are that large
TAKEOVER_LOG_SIGMA: Final = 0.7
SIZE_MEAN: Final = (
    CARD_TEST_SHARE * sum(CARD_TEST_SIZE) / 2 + (1 - CARD_TEST_SHARE) * sum(TAKEOVER_SIZE) / 2
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoneFrauds:
    """Payments of lone fraudsters in time order, one place each; ``device`` counts from 0."""

    at_ms: Ints
    account: Ints
    device: Ints
    beneficiary: Ints
    amount: Floats
    is_card_test: NDArray[np.bool_]
    devices: int


def strike(
    rng: np.random.Generator, settings: SimulationSettings, population: Population
) -> LoneFrauds:
    """The lone frauds of a scenario: each incident has a victim, a fresh device and a merchant."""
    payments = settings.seconds * settings.rate_per_s * settings.lone_fraud_share
    incidents = int(rng.poisson(payments / SIZE_MEAN))
    testing = rng.random(incidents) < CARD_TEST_SHARE
    size = np.where(
        testing,
        rng.integers(CARD_TEST_SIZE[0], CARD_TEST_SIZE[1] + 1, incidents),
        rng.integers(TAKEOVER_SIZE[0], TAKEOVER_SIZE[1] + 1, incidents),
    )
    begin_ms = settings.start_ms + rng.random(incidents) * settings.seconds * 1000
    victim = rng.integers(population.accounts, size=incidents)
    shop = np.searchsorted(population.popularity, rng.random(incidents), side="right")

    incident = np.repeat(np.arange(incidents), size)
    is_test = testing[incident]
    total = len(incident)
    gap_ms = rng.exponential(np.where(is_test, CARD_TEST_GAP_MEAN_MS, TAKEOVER_GAP_MEAN_MS))
    since_ms = np.cumsum(gap_ms)
    first = np.cumsum(size) - size
    since_ms -= since_ms[first][incident]
    usual = population.amount_log_mean[victim[incident]] + TAKEOVER_LOG_LIFT
    amount = np.where(
        is_test,
        rng.uniform(*CARD_TEST_AMOUNT, size=total),
        rng.lognormal(usual, TAKEOVER_LOG_SIGMA),
    )
    at_ms = np.floor(begin_ms[incident] + since_ms).astype(np.int64)
    order = np.argsort(at_ms, kind="stable")
    order = order[at_ms[order] < settings.end_ms]
    return LoneFrauds(
        at_ms=at_ms[order],
        account=victim[incident][order],
        device=incident[order],
        beneficiary=shop[incident][order],
        amount=amount[order],
        is_card_test=is_test[order],
        devices=incidents,
    )
