"""Providers of samples, opened as the pipeline's file and the settings say."""

import contextlib
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from enrichment.pipelines import Pipeline
from enrichment.settings import Settings
from enrichment.stream import topics
from enrichment.telemetry.log import logger
from enrichment.wiring.clients import framing_of, kafka_config, open_redis, partition_count
from enrichment.wiring.clock import now_ms
from enrichment.wiring.money import price_per_shot

if TYPE_CHECKING:
    from enrichment.provider.contract import Description, Provider
    from enrichment.provider.pool import Pool
    from enrichment.records import Control
    from enrichment.sample.calibration_watch import CalibrationWatch


Describe = Callable[[], "Description"]


def noting_devices(
    opened: Callable[[str], "Provider"], pipeline: Pipeline
) -> "tuple[Callable[[str], Provider], list[Describe]]":
    """The same providers, and those with a calibration: of the chain, and any opened later."""
    from enrichment.provider import CALIBRATED

    noted: set[str] = set()
    devices: list[Describe] = []

    def provider(name: str) -> "Provider":
        made = opened(name)
        if name in CALIBRATED and name not in noted:
            noted.add(name)
            devices.append(made.describe)
        return made

    for name in pipeline.sampling.chain:
        if name in CALIBRATED:
            provider(name)
    return provider, devices


def calibration_watch(
    settings: Settings, pipeline: Pipeline, devices: "list[Describe]"
) -> "CalibrationWatch":
    """What says on `enrichment.control` when one of the devices is calibrated; there may be more.

    No broker is asked while there is none.
    """
    from enrichment.rollout import instruct
    from enrichment.sample.calibration_watch import CalibrationWatch

    kafka = kafka_config(settings, "calibrations")

    @cache
    def count() -> int:
        return partition_count(settings, topics.CONTROL)

    def write(control: "Control", former: "Control | None") -> bool:
        try:
            framing = framing_of(settings, pipeline, topics.CONTROL)
            written = instruct.instruct(kafka, control, count(), framing, in_place_of=former)
        except instruct.OvertakenError:
            return False
        if written.unrecorded:
            logger().warning("a change is not on record", key=written.key, why=written.unrecorded)
        return True

    return CalibrationWatch(
        pipeline.name,
        devices,
        lambda: instruct.standing(kafka, count()).controls,
        write,
        now_ms=now_ms,
    )


@contextlib.contextmanager
def opened_providers(
    settings: Settings, pipeline: Pipeline, pool: "Pool", spare: "Pool"
) -> Iterator[Callable[[str], "Provider"]]:
    """Each provider by name, opened once: the file's over `pool`, its fallbacks over `spare`.

    One that only `enrichment.control` names has a process of its own: a spot check of half a minute
    must hold up neither jobs nor their fallbacks.

    At the end all are closed: where nobody else could fetch a job, it is cancelled then. Raises
    ValueError, of `provider(name)`, for one that is unknown or not configured.
    """
    from enrichment.provider import is_device, open_provider

    options = provider_options(settings)

    with contextlib.ExitStack() as stack:

        @cache
        def provider(name: str) -> "Provider":
            place = _place(name, pipeline, pool, spare)
            opened = open_provider(name, place, now_ms=now_ms, options=options.get(name))
            if place not in (pool, spare):
                stack.callback(place.close)
                place.start()
            if settings.kept_answers_s and is_device(name, options.get(name, {})):
                opened = keep_answers(settings, opened, place, stack)
            stack.callback(opened.close)
            return opened

        yield provider


def _place(name: str, pipeline: Pipeline, pool: "Pool", spare: "Pool") -> "Pool":
    """The processes that a provider's work is done in; new ones are not started yet."""
    from functools import partial

    from enrichment.provider.local import warm_up
    from enrichment.provider.pool import Pool

    if name == pipeline.sampling.provider:
        return pool
    if pool is spare or name in pipeline.sampling.chain:
        return spare
    return Pool(workers=1, warm_up=partial(warm_up, name))


def provider_options(settings: Settings) -> dict[str, dict[str, Any]]:
    """What the settings say of providers, by name; most need nothing."""
    return {
        "google": {
            "project_id": settings.google_project,
            "processor_id": settings.google_processor,
            "run_name": settings.google_run_name,
            "device_config_name": settings.google_device_config,
            "price_per_shot": price_per_shot(settings, "google"),
        },
        "ionq": {
            "api_key": settings.ionq_api_key.get_secret_value() if settings.ionq_api_key else "",
            "url": settings.ionq_url,
            "target": settings.ionq_target,
            "noise_model": settings.ionq_noise_model,
            "price_per_shot": price_per_shot(settings, "ionq"),
        },
        "virtual": {"noise_scale": settings.virtual_noise_scale},
    }


def keep_answers(
    settings: Settings, device: "Provider", pool: "Pool", stack: contextlib.ExitStack
) -> "Provider":
    """The provider, its answers kept beside the feature cache, over a client of their own."""
    from enrichment.provider.jobs import Jobs
    from enrichment.provider.kept import Kept
    from enrichment.provider.kept_store import TIMEBOX_S, RedisAnswers

    client = stack.enter_context(contextlib.closing(open_redis(settings, TIMEBOX_S)))
    if not isinstance(device, Jobs):
        raise TypeError(f"not a provider of ours: {device}")
    kept_ms = 1000 * settings.kept_answers_s
    return Kept(device, RedisAnswers(client), pool, now_ms, kept_ms=kept_ms)
