"""Seeds of the simulator: one again with its trace, or many with their rate."""

import argparse
import sys
import time
from collections import Counter
from typing import Final

from tests.simulation.run import Report, run

SHOWN: Final = 40
"""Lines that are shown of a trace, the last; `--trace` shows all of them."""

STEP_MS: Final = 250
"""How finely the least trouble is looked for that still makes a seed fail."""

TROUBLE_MS: Final = 30_000
"""As long as any seed's."""


def main() -> int:
    """Run what is asked for; 1 where a seed failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="this one alone, twice: it must replay exactly")
    parser.add_argument("--trace", action="store_true", help="all of what happens in it")
    parser.add_argument("--trouble-ms", type=int, help="its trouble ends that early")
    parser.add_argument("--shrink", action="store_true", help="find the least that it fails with")
    parser.add_argument("--seeds", type=int, default=300, help="how many, from --first on")
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    if options.seed is None:
        return _many(range(options.first, options.first + options.seeds))
    trouble_ms = _least(options.seed) if options.shrink else options.trouble_ms
    return _one(options.seed, trouble_ms, all_lines=options.trace)


def _one(seed: int, trouble_ms: int | None, *, all_lines: bool) -> int:
    first = run(seed, telling=True, trouble_ms=trouble_ms)
    again = run(seed, trouble_ms=trouble_ms)
    _say("\n".join(first.lines if all_lines else first.lines[-SHOWN:]))
    _say(f"seed {seed}: {first.failure or 'nothing is wrong'}; {first.steps} steps")
    _say(f"trace {first.trace_hash}, again {again.trace_hash}")
    return 1 if first.failure or first.trace_hash != again.trace_hash else 0


def _least(seed: int) -> int | None:
    """The least trouble, from the beginning on, after which the seed still fails; None for none."""
    for trouble_ms in range(0, TROUBLE_MS + STEP_MS, STEP_MS):
        report = run(seed, trouble_ms=trouble_ms)
        if report.failure:
            _say(f"fails with --trouble-ms {trouble_ms}: {report.failure}")
            return trouble_ms
    return None


def _many(seeds: range) -> int:
    began_s = time.monotonic()
    failed: list[Report] = []
    met: Counter[str] = Counter()
    for seed in seeds:
        report = run(seed)
        met.update(report.met)
        if report.failure:
            failed.append(report)
            _say(replayed_by(report))
    took_s = time.monotonic() - began_s
    for what, often in sorted(met.items()):
        _say(f"{often:>10} {what}")
    rate = len(seeds) / took_s
    _say(f"{len(seeds)} seeds in {took_s:.0f} s, {rate:.1f}/s: {len(failed)} failed")
    return 1 if failed else 0


def replayed_by(report: Report) -> str:
    """The command that replays a seed, and why one would."""
    return f"python -m tests.simulation --seed {report.seed} --trace  # {report.failure}"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
