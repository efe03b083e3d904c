"""Seeds of the simulator: one again with its trace, or many with their rate."""

import argparse
import sys
import time
from collections import Counter
from typing import Final

from tests.simulation.run import run

SHOWN: Final = 40
"""Lines that are shown of a trace, the last; `--trace` shows all of them."""


def main() -> int:
    """Run what is asked for; 1 where a seed failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="this one alone, twice: it must replay exactly")
    parser.add_argument("--trace", action="store_true", help="all of what happens in it")
    parser.add_argument("--seeds", type=int, default=300, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    if options.seed is not None:
        return _one(options.seed, all_lines=options.trace)
    return _many(range(options.first, options.first + options.seeds))


def _one(seed: int, *, all_lines: bool) -> int:
    first, again = run(seed, telling=True), run(seed)
    _say("\n".join(first.lines if all_lines else first.lines[-SHOWN:]))
    _say(f"seed {seed}: {first.failure or 'nothing is wrong'}; {first.steps} steps")
    _say(f"trace {first.trace_hash}, again {again.trace_hash}")
    return 1 if first.failure or first.trace_hash != again.trace_hash else 0


def _many(seeds: range) -> int:
    began_s = time.monotonic()
    failed: list[int] = []
    met: Counter[str] = Counter()
    for seed in seeds:
        report = run(seed)
        met.update(report.met)
        if report.failure:
            failed.append(seed)
            _say(f"seed {seed}: {report.failure}")
    took_s = time.monotonic() - began_s
    for what, often in sorted(met.items()):
        _say(f"{often:>10} {what}")
    _say(f"{len(seeds)} seeds in {took_s:.0f} s, {len(seeds) / took_s:.1f}/s: failed {failed}")
    return 1 if failed else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
