"""True answers to requests, drawn once per model and process, and false ones made of them."""

from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import Final

import numpy as np

from enrichment.provider.contract import Result, SampleRequest, SampleSet
from tests.sample.fakes import result_of

_known: dict[tuple[Hashable, ...], Result] = {}


def answer(request: SampleRequest, provider: str) -> Result:
    """What the exact sampler says, under the provider's name; equal models have equal nodes."""
    parts = [_part(request, position, provider) for position in range(len(request.models))]
    return Result(
        job_id=request.job_id,
        provider=provider,
        provider_job_id=request.job_id,
        sets=tuple(
            replace(part.sets[0], seed=seed)
            for part, seed in zip(parts, request.seeds, strict=True)
        ),
        twins={twin: tuple(part.twins[twin][0] for part in parts) for twin in request.twins},
        queue_ms=1.0,
        execution_ms=2.0,
    )


def _part(request: SampleRequest, position: int, provider: str) -> Result:
    """The answer to one model alone."""
    model = request.models[position]
    couplings = tuple(round(bias, 6) for bias in model.quadratic.values())
    key = (provider, tuple(model.variables), couplings, request.shots, request.twins)
    found = _known.get(key)
    if found is None:
        one = replace(request, models=(model,), seeds=(1,))
        found = _known[key] = result_of(one, provider)
    return found


def _fewer_sets(result: Result) -> Result:
    return replace(result, sets=result.sets[1:])


def _first(change: Callable[[SampleSet], SampleSet]) -> Callable[[Result], Result]:
    def changed(result: Result) -> Result:
        return replace(result, sets=(change(result.sets[0]), *result.sets[1:]))

    return changed


GARBAGE: Final[dict[str, Callable[[Result], Result]]] = {
    "too few sets": _fewer_sets,
    "too few shots": _first(lambda one: replace(one, bits=one.bits[1:])),
    "twos": _first(lambda one: replace(one, bits=one.bits + np.uint8(2))),
    "no number": _first(lambda one: replace(one, energies=one.energies * np.nan)),
    "other nodes": _first(lambda one: replace(one, variables=one.variables[::-1])),
}
"""What a provider may send instead of an answer."""
