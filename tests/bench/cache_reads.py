"""What a tracked read costs beside redis-py's own MGET: `python -m tests.bench.cache_reads`.

Two thousand values of 500 bytes, each form of Redis on this machine, best and median of the runs;
with a path as its argument it writes the figures there as JSON too.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import redis

from enrichment.feature.address import Address
from enrichment.feature.connection import open_cache
from enrichment.feature.reads import TrackedReads
from enrichment.feature.store import Layout
from tests.feature import deployments

KEYS: Final = 2_000
VALUE: Final = b"x" * 500
RUNS: Final = 100
FORMS: Final = (deployments.single, deployments.unix, deployments.tls, deployments.cluster)


def timed_ms(*calls: Callable[[], Any]) -> list[dict[str, float]]:
    """Best and median of each call's times, taken in turns so that all meet the same load."""
    taken: list[list[float]] = [[] for _ in calls]
    for _ in range(RUNS):
        for call, times in zip(calls, taken, strict=True):
            began_s = time.perf_counter()
            call()
            times.append(1_000 * (time.perf_counter() - began_s))
    return [{"best_ms": min(times), "median_ms": statistics.median(times)} for times in taken]


def measure(deployment: deployments.Deployment) -> dict[str, dict[str, float]]:
    """The figures of one form."""
    address = Address.parse(deployment.url)
    layout = Layout("payments", cluster=address.is_cluster)
    keys = [layout.feature("account", str(number), "ring") for number in range(KEYS)]
    marks = [layout.projection(number) for number in range(4)]
    cache = open_cache(address, 5.0)
    cache.mset(dict.fromkeys(keys, VALUE))
    mget: Callable[[list[str]], Any] = cache.mget
    if address.is_cluster:
        theirs = redis.RedisCluster(host="127.0.0.1", port=deployment.servers[0].port)
        mget = theirs.mget_nonatomic
    reads = TrackedReads(address, 5.0)
    reads.connect(5.0)
    reads.read(keys)
    names = ("mget", "tracked", "tracked, marks alone")
    figures = timed_ms(lambda: mget(keys), lambda: reads.read(keys), lambda: reads.read(marks))
    reads.close()
    cache.close()
    return dict(zip(names, figures, strict=True))


def main() -> None:
    """Measure every form, print a table, and write JSON where asked to."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    line = "{:10} {:22} {:>9} {:>10} {:>7}\n"
    sys.stdout.write(line.format("form", "read", "best ms", "median ms", "ratio"))
    for form in FORMS:
        with (
            tempfile.TemporaryDirectory() as folder,
            deployments.running(form, Path(folder) / "redis") as deployment,
        ):
            found[form.__name__] = figures = measure(deployment)
        for name, each in figures.items():
            ratio = each["best_ms"] / figures["mget"]["best_ms"]
            row = (f"{each['best_ms']:.3f}", f"{each['median_ms']:.3f}", f"{ratio:.2f}")
            sys.stdout.write(line.format(form.__name__, name, *row))
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_bytes(msgspec.json.encode(found))


if __name__ == "__main__":
    main()
