"""Questions about what a score rests on, and what has been let in on it."""

from typing import Final

from enrichment.preflight.answer import Answer, failed, not_applicable, passed
from enrichment.preflight.facts import Facts, Part
from enrichment.profile import Profile

PRECISION: Final = "average_precision"
BASELINES: Final = ("without_ring", "baseline", "heuristic")
"""What a table's metrics call the path without ring features."""

GATE_KEYS: Final = ("rollout.gate.margin", "rollout.gate.looks")
"""What must be fixed before figures are known: a margin chosen afterwards is none."""

LATENCY_KEY: Final = "rollout.gate.latency_p99_ms_max"


def baseline(facts: Facts) -> Answer:
    """Whether something stands without quantum features, and its figure is known."""
    score = facts.pipeline.score
    terms = [term for term in score.terms if ".ring." not in term.value]
    if not terms:
        return failed(
            f"every term of score table {score.version} reads a ring: without one nothing is known",
            "add terms of the event and of its graph, or fit a table with `enrichment fit`",
        )
    if score.provenance is None:
        return facts.lenient(
            f"score table {score.version}: {len(terms)} terms without rings, and no word on how "
            "they came to be",
            "say so under [provenance], or fit a table with `enrichment fit`",
        )
    metrics = score.provenance.metrics
    named = [
        name
        for name in sorted(metrics)
        if name.startswith(PRECISION) and any(word in name for word in BASELINES)
    ]
    shown = ", ".join(f"{name} {metrics[name]:.3g}" for name in named)
    known = sorted({each.evidence_id for each in facts.control.rollouts.values()} - {""})
    if not named and known:
        shown = f"evidence {', '.join(known)}"
    if shown:
        return passed(f"score table {score.version}: {len(terms)} terms without rings; {shown}")
    return facts.lenient(
        f"score table {score.version}: {len(terms)} terms without rings, of which no figure is "
        "stored",
        "judge it on data that it was not fitted on (`enrichment fit --judge-on`), or gather "
        "evidence in shadow",
    )


def weights(facts: Facts) -> Answer:
    """Whether the weights are of this stream and no other."""
    rule = (each for each in facts.breaches if each.rule == "simulated_weights")
    if (found := facts.weighed(rule)) is not None:
        return found
    provenance = facts.pipeline.score.provenance
    if provenance is None:
        return facts.lenient(
            f"score table {facts.pipeline.score.version} does not say what it was fitted on",
            "say so under [provenance], or fit a table with `enrichment fit`",
        )
    fitted = ", ".join(provenance.fitted_on) or "no recording"
    return passed(f"{facts.pipeline.score.version}: {provenance.method}, on {fitted}")


def latency(facts: Facts) -> Answer:
    """Whether it is said what is acceptable, on the hot path and behind it."""
    gate, features = facts.pipeline.rollout.gate, facts.pipeline.features
    settings = facts.settings
    seen = (
        f"hot path: batch {settings.batch_ms_max} ms, read {settings.read_timeout_ms} ms; "
        f"rings: p99 at most {gate.latency_p99_ms_max:g} ms"
    )
    if gate.latency_p99_ms_max > features.fresh_ms:
        return failed(
            f"{seen}, and features count as fresh for {features.fresh_ms} ms",
            "lower [rollout.gate] latency_p99_ms_max, or raise [features] fresh_ms: what comes "
            "later than that is stale when it comes",
        )
    if LATENCY_KEY not in facts.written:
        return facts.lenient(f"{seen} (the default)", "say it: [rollout.gate] latency_p99_ms_max")
    return passed(seen)


def gate(facts: Facts) -> Answer:
    """Whether the gate's margin and looks were chosen, and not left as they come."""
    rules = facts.pipeline.rollout.gate
    looks = ", ".join(str(each) for each in rules.looks)
    seen = f"margin {rules.margin:g}, looks at {looks} bad events"
    left = [key for key in GATE_KEYS if key not in facts.written]
    if not left:
        return passed(seen)
    names = " and ".join(key.rpartition(".")[2] for key in left)
    return facts.lenient(
        f"{seen}; {names} left as they come",
        f"write {names} under [rollout.gate], before you know any figures",
    )


def let_in(facts: Facts) -> Answer:
    """Whether what serves has been through the gate, and nothing is let in against it."""
    if (lack := facts.lacking(Part.KAFKA, Part.CONTROL)) is not None:
        return lack
    found = facts.let_in
    rollouts = facts.control.rollouts
    if not found:
        return passed("no ring path serves: all are in shadow")
    shown = "; ".join(f"{path}: {how}" for path, how in found.items())
    if forced := [path for path in found if path in rollouts and rollouts[path].override]:
        return facts.lenient(
            f"{shown}; against the gate: {', '.join(forced)}",
            "`enrichment rollout demote`, and `promote` it without --override",
            until=Profile.VALIDATION,
        )
    unproved = [path for path in found if path not in rollouts or not rollouts[path].evidence_id]
    if unproved:
        return facts.lenient(
            f"{shown}; without evidence: {', '.join(unproved)}",
            'set serve = "heuristic" under [score], gather evidence in shadow, and let it in with '
            "`enrichment rollout promote`",
        )
    return passed(shown)


def outcomes(facts: Facts) -> Answer:
    """Whether it will become known what was declined on a ring path's word."""
    if (lack := facts.lacking(Part.KAFKA)) is not None:
        return lack
    name = facts.streams.outcomes
    if name not in facts.topics:
        return failed(f"there is no topic {name}", f"`enrichment topics apply {name}`")
    rollout = facts.pipeline.rollout
    decisions = facts.pipeline.score.decisions
    declines = "decline" in {decisions.elevated, decisions.highest}
    paths = facts.let_in
    if not declines or not paths:
        return passed(f"{name} is there; nothing is declined on a ring path's word")
    if rollout.untreated_share > 0:
        return passed(f"{name} is there; untreated: {rollout.untreated_share:.2%} of the events")
    return facts.lenient(
        f"{name} is there; {', '.join(paths)} may decline, and no share is left untreated",
        "set [rollout] untreated_share and untreated_amount_max, or nobody will ever know whether "
        "what is declined was bad",
    )


def kill_switch(facts: Facts) -> Answer:
    """Whether the control topic is read, and what it says of the kill switch."""
    if (lack := facts.lacking(Part.KAFKA, Part.CONTROL)) is not None:
        return lack
    if facts.malformed:
        name, fault = min(facts.malformed.items())
        return failed(
            f"{len(facts.malformed)} records that nobody follows; {name}: {fault}",
            f"lift them: `enrichment control lift -p {name.partition('|')[0]} --name "
            f"{name.partition('|')[2]}`",
        )
    serve = facts.control.serve
    gone = facts.control.withdrawals
    seen = f"pulled: at most {serve} serves" if serve else "not pulled"
    return passed(f"{seen}; {'features are withdrawn' if gone else 'nothing is withdrawn'}")


def experiment(facts: Facts) -> Answer:
    """Whether an experiment runs, that evidence can be of."""
    if (lack := facts.lacking(Part.KAFKA, Part.CONTROL)) is not None:
        return lack
    running = facts.control.experiment
    if running is None:
        return not_applicable("no experiment is on")
    now = (facts.pipeline.version, facts.pipeline.score.version)
    if now != (running.pipeline_version, running.score_version):
        return failed(
            f"{running.experiment_id} began with another pipeline file or score table",
            "`enrichment experiment start`: evidence of the two together says nothing",
        )
    return passed(f"{running.experiment_id} is of this pipeline file and score table")
