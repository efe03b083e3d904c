"""What a reader hands out: one group of one entity's features, typed, with its verdict."""

from collections.abc import Mapping
from functools import cached_property
from typing import Final

import msgspec

from enrichment.feature.verdict import USABLE, decayed
from enrichment.records import FeatureUpdate, Source, Verdict, VerdictName

_decoder: Final = msgspec.json.Decoder(FeatureUpdate)


class Features(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One group of one entity's features, and how far it may be trusted now.

    `values`, `estimates` and `source` are as they were computed; they are empty unless the verdict
    is fresh or stale, and for an entity in no subgraph. `value` and `estimate` take age into
    account.
    """

    kind: str
    id: str
    group: str
    verdict: Verdict
    age_ms: int
    half_life_ms: int
    version: int = 0
    subgraph: str = ""
    event_time_ms: int = 0
    computed_at_ms: int = 0
    # The value as it stands in the cache; b"" where the verdict gives none. Its figures are decoded
    # when they are first asked for: of a hundred entities most callers look at a few.
    raw: bytes = b""

    @property
    def usable(self) -> bool:
        """Whether it is fresh or stale: else only priors come out."""
        return self.verdict.name in USABLE

    @property
    def values(self) -> Mapping[str, float]:
        """Facts about the subgraph. Raises msgspec.DecodeError where no projector wrote them."""
        return {} if self._update is None else self._update.values

    @property
    def estimates(self) -> Mapping[str, Mapping[str, float]]:
        """Path (`quantum`, `classical`, `random`) -> feature -> estimate. Raises as `values`."""
        return {} if self._update is None else self._update.estimates

    @property
    def source(self) -> Source | None:
        """How the features came to be, where they are given at all. Raises as `values`."""
        return None if self._update is None else self._update.source

    def value(self, name: str, prior: float = 0.0) -> float:
        """A feature of the subgraph, decayed towards the prior where it is stale."""
        return self._decayed(self.values, name, prior)

    def estimate(self, path: str, name: str, prior: float = 0.0) -> float:
        """What the sampler of that path made of it, decayed towards the prior where stale."""
        return self._decayed(self.estimates.get(path, {}), name, prior)

    def __repr__(self) -> str:
        said = f"{self.verdict.name.value}, {self.verdict.reason}"
        return f"Features({self.kind} {self.id!r} {self.group}: {said})"

    @cached_property
    def _update(self) -> FeatureUpdate | None:
        return _decoder.decode(self.raw) if self.raw else None

    def _decayed(self, features: Mapping[str, float], name: str, prior: float) -> float:
        found = features.get(name)
        if found is None:
            return prior
        age_ms = self.age_ms if self.verdict.name is VerdictName.STALE else 0
        return decayed(found, prior, age_ms, self.half_life_ms)
