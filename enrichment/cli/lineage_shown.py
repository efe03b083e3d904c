"""A lineage as a tree for a terminal."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from enrichment.rollout.words import time_in_words

if TYPE_CHECKING:
    from enrichment.lineage.tree import (
        Batch,
        FeatureTraced,
        InForce,
        JobTraced,
        Lineage,
        Plain,
        Standing,
    )

LISTED_MAX: Final = 8
"""Digests, hashes and the like that are written out; all of them are in --json."""

WIDTH_PIPED: Final = 500
"""Columns where the output is no terminal: longer than any line but a list's."""


def print_lineage(lineage: "Lineage") -> None:
    """Print one record's tree; jobs and micro-batches are opened where they are first named."""
    record = lineage.record
    root = Tree(
        f"[bold]{escape(record['event_id'])}[/bold] {record['decision']}, "
        f"score {record['scores']['served']} by {record['path']}"
    )
    _record(root, lineage)
    _input(root, lineage)
    _in_force(root, lineage.in_force)
    opened: set[str] = set()
    features = root.add(f"features: {len(lineage.features)}")
    for feature in lineage.features:
        _feature(features, feature, lineage, opened)
    _versions(root, lineage.versions)
    # A pipe has no width: there nothing is broken into lines.
    console = Console()
    (console if console.is_terminal else Console(width=WIDTH_PIPED)).print(root)


def _record(root: Tree, lineage: "Lineage") -> None:
    record, again = lineage.record, lineage.rescored
    node = root.add(f"record {lineage.place}, decided {time_in_words(record['decided_at_ms'])}")
    known = {name: score for name, score in record["scores"].items() if name != "served"}
    told = ", ".join(
        f"{name} {'not known' if score is None else score}" for name, score in known.items()
    )
    node.add(f"scores: {told}; level {record['level']}")
    verdict = record["verdict"]
    node.add(f"verdict: {verdict['name']} ({verdict['reason']})")
    node.add(f"re-scored from itself: {_word(again.same)} ({escape(again.detail)})")
    if (rollout := record.get("rollout")) is not None:
        paths = ", ".join(rollout.get("paths", [])) or "none but the heuristic"
        node.add(
            f"rollout: {paths}, {rollout.get('stage', 'shadow')}"
            + (", against the gate" if rollout.get("override") else "")
            + (", untreated" if rollout.get("untreated") else "")
            + (f", withheld {rollout['withheld']}" if rollout.get("withheld") else "")
        )
        node.add(
            f"experiment {rollout.get('experiment_id') or 'none'}, control revision "
            f"{rollout.get('revision') or 'none'}"
        )
    if record.get("correlation_id"):
        node.add(f"correlation id {escape(record['correlation_id'])}")


def _input(root: Tree, lineage: "Lineage") -> None:
    found = lineage.input
    there = found.gone or f"{found.bytes:,} bytes, written {time_in_words(found.written_ms)}"
    root.add(f"input {found.place}: {there}")


def _in_force(root: Tree, in_force: "InForce") -> None:
    told = f", by {in_force.told_by}" if in_force.told_by else ""
    node = root.add(f"in force when it was decided{told}: {len(in_force.standing)}")
    for one in in_force.standing:
        node.add(_standing(one))
    if in_force.revision:
        node.add(f"amounts to the record's revision {in_force.revision}: {_word(in_force.same)}")
    if in_force.note:
        node.add(escape(in_force.note))


def _standing(one: "Standing") -> str:
    against = ", against the gate" if one.override else ""
    evidence = f", on evidence {one.evidence_id}" if one.evidence_id else ""
    said = f"{one.subject}: {one.what}{against}{evidence}"
    return escape(f"{said}; since {time_in_words(one.at_ms)} by {one.by}: {one.reason}")


def _feature(root: Tree, feature: "FeatureTraced", lineage: "Lineage", opened: set[str]) -> None:
    used = feature.used
    verdict = used["verdict"]
    judged = f"{verdict['name']} ({verdict['reason']})"
    head = f"{used['role']} {escape(used['id'])} {used['group']}: {judged}"
    if not used.get("version"):
        root.add(head)
        return
    node = root.add(f"{head}, version {used['version']}, age {used.get('age_ms', 0):,} ms")
    if used.get("subgraph"):
        node.add(f"subgraph {used['subgraph']}")
    if feature.place is None:
        node.add(f"update: {feature.gone}")
    else:
        same = "used decayed" if feature.same is None else f"as used: {_word(feature.same)}"
        at = time_in_words(feature.computed_at_ms)
        node.add(f"update {feature.place}, computed {at}; {same}")
    source = feature.source
    if source is not None and used["group"] == "ring":
        kept = f", samples of job {source['kept_job_id']}" if source.get("kept_job_id") else ""
        node.add(
            f"source: {source['backend']}, problem {source.get('problem_id', '')}, circuit "
            f"{source.get('circuit_hash') or 'none'}, {source.get('shots', 0)} shots, seed "
            f"{source.get('seed', 0)}{kept}"
        )
    if (job_id := used.get("job_id")) and job_id in lineage.jobs:
        _job(node, lineage.jobs[job_id], lineage, opened)
    elif feature.micro_batch_id:
        _batch_of(node, feature.micro_batch_id, lineage, opened)


def _job(root: Tree, job: "JobTraced", lineage: "Lineage", opened: set[str]) -> None:
    label = f"job {escape(job.job_id)}"
    if f"job {job.job_id}" in opened:
        root.add(f"{label}: see above")
        return
    opened.add(f"job {job.job_id}")
    ledger = job.ledger
    if ledger is None:
        node = root.add(f"{label}: {job.gone}")
    else:
        node = root.add(
            f"{label}: {ledger['state']} by {ledger['provider']}, attempt {ledger['attempt']}, "
            f"{ledger['shots']} shots, cost {ledger['cost_micro'] / 1e6:g}"
        )
        if ledger["experiment_id"]:
            node.add(f"experiment {ledger['experiment_id']}")
    _history(node, job)
    if job.answer is not None:
        _answer(node, job.answer, lineage)
    for kept in job.kept_of:
        _other(node, f"its samples are those of an earlier job, {kept}", kept, lineage, opened)
    for check in job.checks:
        _other(node, "spot check", check, lineage, opened)
    if job.check_of:
        node.add(f"a spot check of {escape(job.check_of)}: never published")
    if job.micro_batch_id:
        _batch_of(node, job.micro_batch_id, lineage, opened)


def _other(root: Tree, label: str, job_id: str, lineage: "Lineage", opened: set[str]) -> None:
    node = root.add(escape(label))
    if job_id in lineage.jobs:
        _job(node, lineage.jobs[job_id], lineage, opened)


def _history(root: Tree, job: "JobTraced") -> None:
    if not job.history:
        root.add(f"history: {job.history_gone}")
        return
    node = root.add("history")
    first_ms = job.history[0].at_ms
    for step in job.history:
        detail = f": {escape(step.detail)}" if step.detail else ""
        by = f" ({step.provider})" if step.provider else ""
        node.add(f"+{step.at_ms - first_ms:,} ms {step.event} -> {step.state}{by}{detail}")


def _answer(root: Tree, answer: "Plain", lineage: "Lineage") -> None:
    node = root.add(
        f"answer at {time_in_words(answer['at_ms'])}, provider job "
        f"{answer['provider_job_id'] or 'none'}, calibration {answer['calibration_id'] or 'none'}"
    )
    if (run := answer.get("run")) is not None:
        node.add(
            f"template {run['template']} {run['template_version']}, {run['layers']} layers, "
            f"{run['shots']} shots, problem kind {run['problem_kind']}"
        )
        if run["conditions"]:
            node.add(f"conditions: {_pairs(run['conditions'])}")
    if answer["sdk_versions"]:
        node.add(f"SDKs: {_pairs(answer['sdk_versions'])}")
    for what in ("circuit_hashes", "model_hashes", "seeds"):
        if answer[what]:
            node.add(f"{what.replace('_', ' ')}: {_listed(map(str, answer[what]))}")
    if answer["durations_ms"]:
        node.add(f"took: {_pairs({k: f'{v:.1f} ms' for k, v in answer['durations_ms'].items()})}")
    _of_problems(node, answer, lineage)


def _of_problems(node: Tree, answer: "Plain", lineage: "Lineage") -> None:
    """What the answer says of the problems that the event's own features are of."""
    own = {one.source.get("problem_id") for one in lineage.features if one.source is not None}
    for problem, figures in answer["differences"].items():
        if problem in own:
            shown = {name: f"{value:.4f}" for name, value in figures.items()}
            node.add(f"differences of {escape(problem)}: {_pairs(shown)}")
    for problem, run in answer["device_runs"].items():
        if problem in own:
            node.add(
                f"{escape(problem)} ran on {run['processor']}: depth {run['depth']}, "
                f"{run['two_qubit_gates']} two-qubit gates, qubits {' '.join(run['qubits'])}, "
                f"calibration {run.get('calibration_id') or 'none'}"
            )


def _batch_of(root: Tree, id_: str, lineage: "Lineage", opened: set[str]) -> None:
    batch = lineage.batches[id_]
    label = f"micro-batch {escape(id_)}"
    if f"batch {id_}" in opened:
        root.add(f"{label}: see above")
        return
    opened.add(f"batch {id_}")
    if batch.place is None:
        root.add(f"{label}: {batch.gone}")
        return
    node = root.add(f"{label} {batch.place}")
    node.add(
        f"window {time_in_words(batch.window_start_ms)} to {time_in_words(batch.window_end_ms)}, "
        f"closed by {batch.closed_by} at {time_in_words(batch.closed_at_ms)}, {batch.events} "
        f"events, {batch.problems} problems, version {batch.version}"
    )
    _derived(node, batch)
    for other in batch.others:
        node.add(f"another record bears this identity: {other}")
    _digests(node, batch)
    for one in batch.inputs:
        whole = one.last - one.first + 1
        there = "all there" if one.there == whole else f"{one.there:,} of {whole:,} offsets there"
        node.add(
            f"input {one.topic}[{one.partition}] {one.first} to {one.last}: {one.events} events in "
            f"{one.digests} digests, {there}"
        )


def _derived(node: Tree, batch: "Batch") -> None:
    again = batch.derived
    if again is None:
        return
    said = f"content {batch.content_hash}, derived again: {_word(again.same)}"
    if again.same is False:
        said += f" ({again.finding.value}"
        said += f", now {again.content_hash}" if again.content_hash else ""
        said += ", another content under the same identity" if again.conflicting else ""
        said += f", {len(again.altered)} problems altered" if again.altered else ""
        said += ")"
    node.add(said)


def _digests(root: Tree, batch: "Batch") -> None:
    where = batch.digests_at or {}
    head = f"digests {where['topic']}[{where['partition']}] {where['first']} to {where['last']}"
    node = root.add(f"{head}: {batch.digests_gone or len(batch.digests)}")
    for row in batch.digests[:LISTED_MAX]:
        node.add(
            f"@{row.offset}: source [{row.source_partition}] {row.offset_first} to "
            f"{row.offset_last}, {row.events} events"
        )
    if len(batch.digests) > LISTED_MAX:
        node.add(f"and {len(batch.digests) - LISTED_MAX} more: --json")


def _versions(root: Tree, versions: "Plain") -> None:
    node = root.add("versions")
    for name, version in versions.items():
        if isinstance(version, dict):
            said = ", ".join(f"{when} {_joined(what)}" for when, what in version.items())
        else:
            said = _joined(version)
        node.add(f"{name}: {escape(said)}")


def _joined(what: object) -> str:
    return (", ".join(map(str, what)) or "none") if isinstance(what, list) else str(what)


def _pairs(named: "Plain") -> str:
    return escape(", ".join(f"{name} {value}" for name, value in named.items()))


def _listed(texts: Iterable[str]) -> str:
    all_ = list(texts)
    more = f" and {len(all_) - LISTED_MAX} more" if len(all_) > LISTED_MAX else ""
    return escape(" ".join(all_[:LISTED_MAX]) + more)


def _word(same: bool | None) -> str:
    return "not known" if same is None else "yes" if same else "[bold red]NO[/bold red]"
