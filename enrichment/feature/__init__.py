"""The feature cache: its layout, the verdict on age, the projector and the public readers.

May import records and pipelines; only the projector may import Kafka plumbing. Whoever reads
features needs no more than what this room hands out by name, and neither Kafka nor Cirq:

    from enrichment.feature import FeatureReader
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from enrichment.feature.async_reader import AsyncFeatureReader
    from enrichment.feature.features import Features
    from enrichment.feature.reader import FeatureReader

__all__ = ["AsyncFeatureReader", "FeatureReader", "Features"]

_HOMES: Final = {
    "AsyncFeatureReader": "enrichment.feature.async_reader",
    "FeatureReader": "enrichment.feature.reader",
    "Features": "enrichment.feature.features",
}


def __getattr__(name: str) -> Any:
    """What is asked for by name. Only then is it imported: the hot path has no use for asyncio."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
