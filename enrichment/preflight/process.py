"""Questions about what a process runs with: settings, secrets, installed versions, the cache."""

from typing import Final

from enrichment.preflight.answer import Answer, not_applicable, passed
from enrichment.preflight.facts import Facts, Part
from enrichment.profile import Profile

NOEVICTION: Final = "noeviction"
SHOWN: Final = 3


def secrets(facts: Facts) -> Answer:
    """Whether secrets are there, are no examples, and stand in no URL."""
    found = facts.weighed(each for each in facts.breaches if each.secret)
    return found or passed("none is missing, an example or in a URL")


def settings(facts: Facts) -> Answer:
    """Whether the other settings suit the profile."""
    own = (each for each in facts.breaches if not each.secret and each.rule != "simulated_weights")
    return facts.weighed(own) or passed(f"they suit {facts.profile.value}")


def cache(facts: Facts) -> Answer:
    """Whether the feature cache keeps what it is given."""
    if (lack := facts.lacking(Part.REDIS)) is not None:
        return lack
    if facts.cache is None:
        return not_applicable("it says nothing of itself")
    found = facts.cache
    memory = (
        f"{found.memory_max_bytes:,} bytes at most" if found.memory_max_bytes else "no maxmemory"
    )
    seen = f"Redis {found.version}: {found.eviction}, {memory}, persistence: {found.persistence}"
    if found.eviction != NOEVICTION:
        return facts.lenient(
            seen,
            "set maxmemory-policy noeviction: what is evicted reads as missing, the budget's "
            "counter too (docs/reliability.md)",
            until=Profile.VALIDATION,
        )
    return passed(seen)


def pinned(facts: Facts) -> Answer:
    """Whether what is installed is what was pinned, tested and hashed."""
    found = facts.versions
    if found is None:
        return not_applicable(
            "there is no requirements/all.txt here; jobs record their SDKs' versions"
        )
    if found.unhashed:
        return facts.lenient(
            f"pinned without a hash: {', '.join(found.unhashed[:SHOWN])}",
            "`make requirements`, which writes them with hashes",
        )
    if found.differing:
        shown = [f"{name} {what}" for name, what in sorted(found.differing.items())]
        more = len(shown) - SHOWN
        return facts.lenient(
            "; ".join(shown[:SHOWN]) + (f"; and {more} more" if more > 0 else ""),
            "install with `pip install --require-hashes -r requirements/all.txt`",
            until=Profile.VALIDATION,
        )
    beside = f"; beside them {len(found.unpinned)} that are not pinned" if found.unpinned else ""
    return passed(f"{found.agreeing} distributions are as pinned{beside}")
