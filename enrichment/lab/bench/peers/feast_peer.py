"""Feast's Redis online store, read as its documentation reads one: `get_online_features`.

Run in the environment that `make feast` makes, with neither msgspec nor anything of ours. It writes
the figures of so many accounts, says which Feast it is, and answers each line of its input, a
`{"size", "reads", "seed"}`, with the microseconds that reads took.
"""

import json
import random
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import feast
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64

PATHS: Final = ("quantum", "classical", "random")
# As many figures as a `graph` and a `ring` of ours have, and the same kinds of numbers.
ESTIMATES: Final = (
    "membership", "membership_low", "membership_high", "in_best", "in_best_energy",
    "gibbs_marginal", "entropy", "optimum_energy", "mean_energy", "near_optima",
)  # fmt: skip
FACTS: Final = (
    "events", "amount", "velocity_short", "degree", "size", "density", "core_number",
    "known_bad_near", "subgraph_since_ms", "ring_size", "ring_density", "energy_best",
    "ring_amount",
)  # fmt: skip
NAMES: Final = (*FACTS, *(f"{path}_{name}" for path in PATHS for name in ESTIMATES))
VIEW: Final = "ring"
ROWS_MAX: Final = 1_000  # per write


def store(address: str, folder: Path) -> FeatureStore:
    """A store with one view of accounts, its registry a file in the folder."""
    made = FeatureStore(
        config=RepoConfig(
            project="payments",
            registry=str(folder / "registry.db"),
            provider="local",
            online_store={"type": "redis", "connection_string": address},
            entity_key_serialization_version=3,
        )
    )
    account = Entity(name="account", join_keys=["account_id"], value_type=ValueType.STRING)
    # Never read: what is online was written there directly.
    source = FileSource(path=str(folder / "none.parquet"), timestamp_field="event_timestamp")
    view = FeatureView(
        name=VIEW,
        entities=[account],
        ttl=timedelta(days=1),
        schema=[Field(name=name, dtype=Float64) for name in NAMES],
        source=source,
    )
    made.apply([account, view])
    return made


def fill(made: FeatureStore, ids: list[str]) -> None:
    """Figures of every account."""
    draw = random.Random(1)  # noqa: S311  # figures to be read, not secrets
    now = datetime.now(UTC)
    for start in range(0, len(ids), ROWS_MAX):
        part = ids[start : start + ROWS_MAX]
        rows: dict[str, Any] = {name: [round(draw.random(), 3) for _ in part] for name in NAMES}
        rows |= {"account_id": part, "event_timestamp": [now] * len(part)}
        made.write_to_online_store(VIEW, inputs=rows)


def times(
    made: FeatureStore, ids: list[str], names: list[str], told: dict[str, int]
) -> list[float]:
    """Microseconds of each read of these figures."""
    draw = random.Random(told["seed"])  # noqa: S311  # which accounts are read
    taken = []
    for _ in range(told["reads"] + 1):
        rows = [{"account_id": id_} for id_ in draw.sample(ids, told["size"])]
        began_ns = time.perf_counter_ns()
        found = made.get_online_features(features=names, entity_rows=rows).to_dict()
        taken.append((time.perf_counter_ns() - began_ns) / 1_000)
        if None in found["quantum_membership"]:
            raise SystemExit("a figure that was written is missing")
    return taken[1:]  # the first opens the connection


def main(arguments: list[str]) -> None:
    """Write, and then answer until the input ends."""
    address, folder, accounts = arguments
    made = store(address, Path(folder))
    ids = [f"a{number:06}" for number in range(int(accounts))]
    fill(made, ids)
    _say({"feast": feast.__version__})
    every = [f"{VIEW}:{name}" for name in NAMES]
    one = [f"{VIEW}:quantum_membership"]
    for line in sys.stdin:
        told = json.loads(line)
        _say({"all": times(made, ids, every, told), "one": times(made, ids, one, told)})


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
