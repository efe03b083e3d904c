"""Recorded enriched events whose odds are known, since the tests draw them."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from enrichment.enrich.rescore import rescored
from enrichment.enrich.score import Scorer
from enrichment.lab.simulate import run_of_seed
from enrichment.pipelines import Pipeline, load
from enrichment.records import (
    Enriched,
    FeatureUsed,
    Origin,
    Outcome,
    OutcomeKind,
    Verdict,
    VerdictName,
)

PAYMENTS: Final = load("payments")
FRESH: Final = Verdict(VerdictName.FRESH, "subgraph_unchanged")
START_MS: Final = 1_700_000_000_000
# Log-odds of the drawn stream: what a fit should find again.
BIAS: Final = -3.0
NEAR_KNOWN_BAD: Final = 3.0
DEVICE_IN_RING: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """One recorded event, and whether it turned out bad."""

    value: bytes
    event_id: str
    account: str
    bad: bool


def drawn(
    seed: int,
    count: int,
    *,
    start_ms: int = START_MS,
    simulated: bool = True,
    pipeline: Pipeline = PAYMENTS,
    energy: float | None = None,
) -> list[Drawn]:
    """Events of a stream in which two features tell, each known of half of the events.

    With an energy, it is that of every sampled subgraph.
    """
    rng = np.random.default_rng(seed)
    prefix = f"p-{run_of_seed(seed)}-" if simulated else f"real-{seed}-"
    scorer = Scorer(pipeline)
    events = []
    for number in range(count):
        near, membership = float(rng.random() < 0.15), float(rng.random())
        sampled = bool(rng.random() < 0.5)
        log_odds = BIAS + NEAR_KNOWN_BAD * near + (DEVICE_IN_RING * membership if sampled else 0.0)
        account = f"a{seed}-{rng.integers(max(1, count // 8))}"
        features = [used("device", "graph", values={"known_bad_near": near})]
        if sampled:
            estimate = {"membership": membership}
            if energy is not None:
                estimate["optimum_energy"] = energy
            features.append(used("device", "ring", quantum=estimate))
        event = {
            "event_id": f"{prefix}{number:09d}",
            "account_id": account,
            "device_id": f"d{seed}-{number}",
            "beneficiary_id": f"b{rng.integers(20)}",
            "region": "eu",
            "occurred_at": start_ms + number * 10,
            "amount": round(float(rng.lognormal(3.0, 0.8)), 2),
        }
        events.append(
            Drawn(
                value=enriched(event, features, scorer, pipeline),
                event_id=str(event["event_id"]),
                account=account,
                bad=bool(rng.random() < 1.0 / (1.0 + math.exp(-log_odds))),
            )
        )
    return events


def used(role: str, group: str, **fields: dict[str, Any]) -> FeatureUsed:
    """Usable features; keywords other than `values` are paths."""
    values = fields.pop("values", {})
    return FeatureUsed(
        role=role, kind=role, id="1", group=group, verdict=FRESH, values=values, estimates=fields
    )


def enriched(
    event: dict[str, Any],
    features: list[FeatureUsed],
    scorer: Scorer | None = None,
    pipeline: Pipeline = PAYMENTS,
) -> bytes:
    """The record that the event leads to, with these features."""
    numbers = {"amount": float(event["amount"])}
    by_role = {(each.role, each.group): each for each in features}
    scored = (scorer or Scorer(pipeline)).score(numbers, by_role)
    record = Enriched(
        event_id=event["event_id"],
        pipeline=pipeline.name,
        origin=Origin(f"{pipeline.name}.events", 0, 0),
        occurred_at_ms=event["occurred_at"],
        decided_at_ms=event["occurred_at"] + 5,
        event=msgspec.Raw(json.dumps(event).encode()),
        verdict=FRESH,
        path=scored.path,
        scores=scored.scores,
        level=scored.level,
        decision=scored.decision,
        reasons=tuple(scored.reasons),
        features=tuple(features),
        pipeline_version=pipeline.version,
        score_version=pipeline.score.version,
    )
    # As the hot path writes it.
    return rescored(pipeline)(msgspec.json.encode(record))


def outcomes(events: list[Drawn]) -> Iterator[bytes]:
    """What became known: of every bad event, and of a tenth of the others."""
    for number, each in enumerate(events):
        if each.bad or number % 10 == 0:
            kind = OutcomeKind.CONFIRMED_FRAUD if each.bad else OutcomeKind.CLEARED
            yield msgspec.json.encode(
                Outcome(
                    outcome_id=f"{each.event_id}/1",
                    event_id=each.event_id,
                    entity="account",
                    id=each.account,
                    shard="eu",
                    kind=kind,
                    decided_at_ms=START_MS + 1,
                )
            )


def write(folder: Path, name: str, events: list[Drawn]) -> tuple[Path, Path]:
    """Files of records and outcomes, one a line."""
    records, told = folder / f"{name}.jsonl", folder / f"{name}.outcomes.jsonl"
    records.write_bytes(b"".join(each.value + b"\n" for each in events))
    told.write_bytes(b"".join(value + b"\n" for value in outcomes(events)))
    return records, told
