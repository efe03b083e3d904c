"""Pinned requirements against what is installed here."""

import re
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Final

from enrichment.preflight.facts import Versions

REQUIREMENTS: Final = Path("requirements/all.txt")
"""In a clone of the repository. An image was built from it, and is what it was built from."""

NOT_OURS: Final = frozenset({"enrichment", "pip", "setuptools", "wheel", "uv"})
"""What is not pinned there: this package, and what environments are made with."""

_PIN: Final = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)", re.MULTILINE)


def pins(text: str) -> Iterator[tuple[str, str, bool]]:
    """Distribution, version and whether a hash stands beside it, for each pin of a file.

    A distribution may be pinned several times, for several Pythons.
    """
    found = list(_PIN.finditer(text))
    for pin, after in zip(found, [*found[1:], None], strict=True):
        own = text[pin.end() : len(text) if after is None else after.start()]
        yield normal(pin[1]), pin[2], "--hash=" in own


def normal(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def compared(text: str, installed: Mapping[str, str]) -> Versions:
    """Pins of a requirements file against versions by normal name.

    What is pinned and not installed here is not missed: an image of one role has less.
    """
    wanted: dict[str, list[str]] = {}
    unhashed = []
    for name, version, hashed in pins(text):
        wanted.setdefault(name, []).append(version)
        if not hashed:
            unhashed.append(name)
    differing = {
        name: f"{version}, pinned {' or '.join(wanted[name])}"
        for name, version in installed.items()
        if name in wanted and version not in wanted[name]
    }
    return Versions(
        differing=differing,
        unpinned=tuple(sorted(installed.keys() - wanted.keys() - NOT_OURS)),
        unhashed=tuple(unhashed),
        agreeing=len(installed.keys() & wanted.keys()) - len(differing),
    )


def installed() -> dict[str, str]:
    """Every distribution of this environment with its version, by normal name."""
    return {normal(each.name): each.version for each in metadata.distributions()}


def versions() -> Versions | None:
    """The comparison for this process; None where there is no file of pins."""
    if not REQUIREMENTS.is_file():
        return None
    return compared(REQUIREMENTS.read_text(encoding="utf-8"), installed())
