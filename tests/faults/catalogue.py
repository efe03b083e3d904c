"""All faults, family by family. A new family is one file and one line here."""

from collections.abc import Mapping
from typing import Final

from tests.faults import (
    brokers,
    caches,
    clocks,
    cuts,
    hot_path,
    kills,
    providers,
    versions,
    workers,
)
from tests.faults.fault import Fault

FAMILIES: Final[Mapping[str, tuple[Fault, ...]]] = {
    "kills": kills.FAULTS,
    "providers": providers.FAULTS,
    "workers": workers.FAULTS,
    "clocks": clocks.FAULTS,
    "versions": versions.FAULTS,
    "brokers": brokers.FAULTS,
    "caches": caches.FAULTS,
    "cuts": cuts.FAULTS,
    "hot-path": hot_path.FAULTS,
}
"""Family -> its faults, in the order in which they are tried."""

ALL: Final = tuple(fault for family in FAMILIES.values() for fault in family)
