"""What attempts may cost: prices, allowances, and the counter that all workers share."""

import time
from typing import TYPE_CHECKING

from enrichment.pipelines import Pipeline
from enrichment.settings import Settings
from enrichment.wiring.clients import kafka_config, open_redis
from enrichment.wiring.errors import ConfigurationError

if TYPE_CHECKING:
    from enrichment.sample.budget import Allowance
    from enrichment.sample.counter import RedisCounter
    from enrichment.sample.teller import Teller


COUNTER_S = 0.5  # one call of the budget's thread: nobody waits for it, and Redis may be busy


def price_per_shot(settings: Settings, provider: str) -> float:
    """What a provider asks for a shot, as the settings say; nothing where they do not."""
    prices = {"google": settings.google_price_per_shot, "ionq": settings.ionq_price_per_shot}
    return prices.get(provider, 0.0)


def check_budget(settings: Settings, pipeline: Pipeline) -> None:
    """Raise ConfigurationError where the pipeline names a provider that it may not pay."""
    for name in pipeline.sampling.chain:
        price = price_per_shot(settings, name)
        if price and not pipeline.budget.day:
            raise ConfigurationError(
                f"{pipeline.name}: provider {name} costs {price} a shot and the pipeline may spend "
                "nothing: say in its file, under [budget], what it may spend in a `day`"
            )


def allowance_of(settings: Settings, *pipelines: Pipeline) -> "Allowance":
    """What may be spent in a day, as the settings and the pipelines' files say."""
    from enrichment.sample.budget import Allowance

    return Allowance.of(
        {pipeline.name: pipeline.budget.day for pipeline in pipelines},
        day=settings.budget_day,
        providers=settings.budget_providers,
    )


def open_counter(settings: Settings) -> "RedisCounter":
    """The budget's counter; it connects when it is first asked."""
    from enrichment.sample.counter import RedisCounter

    return RedisCounter(open_redis(settings, COUNTER_S))


def open_budget(settings: Settings, pipeline: Pipeline) -> "Teller":
    """The budget that a worker asks, its thread started; nobody is asked before money is."""
    from enrichment.sample.spending import ledger_of
    from enrichment.sample.teller import Teller

    return Teller(
        open_counter(settings),
        ledger_of(kafka_config(settings, "budget")),
        allowance_of(settings, pipeline),
        clock_s=time.monotonic,
    ).start()
