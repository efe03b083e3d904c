"""Whatever samples, behind one narrow contract: simulators, classical solvers, devices.

Adding a vendor is one file and one line in ``PROVIDERS``: a module with ``open_provider``, over
`enrichment.provider.remote` where the work is done elsewhere. A long one (circuits in its format,
its failures' kinds) may go on in files that begin with its name; its own exceptions and types stay
in them.
"""

import difflib
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from enrichment.provider.contract import Provider
    from enrichment.provider.pool import Pool

PROVIDERS: Final[Mapping[str, str]] = {
    "qsim": "enrichment.provider.qsim",
    "exact": "enrichment.provider.exact",
    "annealing": "enrichment.provider.annealing",
    "random": "enrichment.provider.random",
    "google": "enrichment.provider.google",
    "ionq": "enrichment.provider.ionq",
    "virtual": "enrichment.provider.virtual",
}
"""Name -> module, imported when opened; its ``open_provider(pool, now_ms, **options)`` makes it."""


CALIBRATED: Final = frozenset({"google", "virtual"})
"""Whose descriptions name a calibration: what was computed under another is withdrawn."""


def open_provider(
    name: str,
    pool: "Pool",
    *,
    now_ms: Callable[[], int],
    options: Mapping[str, object] | None = None,
) -> "Provider":
    """Return the named provider, its local work done in `pool`, its deadlines read from `now_ms`.

    `options` are the provider's own, by name; most take none. Raises ValueError that names the
    nearest known provider where there is none of that name.
    """
    if name not in PROVIDERS:
        near = difflib.get_close_matches(name, PROVIDERS, n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        msg = f"unknown provider {name!r}{hint} (known: {', '.join(PROVIDERS)})"
        raise ValueError(msg)
    provider: Provider = import_module(PROVIDERS[name]).open_provider(
        pool, now_ms, **(options or {})
    )
    return provider


def is_device(name: str, options: Mapping[str, object]) -> bool:
    """Return whether a provider's samples are dear and have no seed: then its answers are kept.

    Simulators are left out, `virtual` with its calibration too: they cost nothing, and that a seed
    gives its samples again is worth more than the time.
    """
    return name == "google" or (name == "ionq" and str(options["target"]).startswith("qpu"))


def open_pool(*, workers: int, provider: str = "") -> "Pool":
    """Return a started pool of worker processes that warm up for `provider`; never blocks."""
    from enrichment.provider.local import warm_up
    from enrichment.provider.pool import Pool

    pool = Pool(workers=workers, warm_up=partial(warm_up, provider))
    pool.start()
    return pool
