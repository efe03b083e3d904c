"""An explained job as text for a terminal of any width from 80 columns on."""

import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import typer
from rich.console import Console

if TYPE_CHECKING:
    from enrichment.circuit.drawing import Drawing
    from enrichment.sample.explained import Energies, Explanation, ProblemShown

BAR: Final = "█"
WIDTH_MIN: Final = 80
SEEDS_MAX: Final = 4
"""Seeds written out; all of them are in --json."""
ROWS_MAX: Final = 20
"""Problems listed; a job has up to 64, and the rest are counted."""


def print_explanation(explanation: "Explanation", drawing: "Drawing | None", *, full: bool) -> None:
    """Print everything; the circuit in parts as wide as the terminal, all of them where `full`."""
    width = max(WIDTH_MIN, Console().width)
    problem = explanation.problem
    for lines in (
        _job(explanation),
        _problems(explanation),
        _nodes(explanation),
        _model(problem),
        _circuit(problem, drawing, width, full=full),
        _energies(problem.energies, width),
        _memberships(problem),
        _published(explanation),
        _recipe(explanation),
        _verdict(explanation),
    ):
        for line in lines:
            for part in _wrapped(line, width):
                typer.echo(part)


def _wrapped(line: str, width: int) -> list[str]:
    """A line in parts that fit, further in than the first; what has no blanks is left whole."""
    if len(line) <= width:
        return [line]
    inner = " " * (len(line) - len(line.lstrip()) + 4)
    return textwrap.wrap(
        line, width, subsequent_indent=inner, break_long_words=False, break_on_hyphens=False
    )


def _job(explanation: "Explanation") -> Iterator[str]:
    job = explanation.job
    yield (
        f"{job['job_id']}: {job['state']} by {job['provider']}, attempt {job['attempt']}, "
        f"{job['took_ms']} ms after it was claimed at {_time(job['created_ms'])}"
    )
    if job["detail"]:
        yield f"  {job['detail']}"
    if job.get("closed_by") == "call":  # of no window
        yield f"called at {_time(job['closed_at_ms'])}"
    elif "closed_by" in job:
        yield (
            f"window {_time(job['window_start_ms'])} to {_time(job['window_end_ms'])}, closed by "
            f"{job['closed_by']}, {job['events']} events"
        )
    if explanation.durations_ms:
        spent = ", ".join(f"{name} {ms:.1f}" for name, ms in explanation.durations_ms.items())
        yield f"ms spent: {spent}"


def _problems(explanation: "Explanation") -> Iterator[str]:
    chosen = explanation.problem.number
    yield ""
    yield f"Problems ({len(explanation.problems)}; --problem N shows another)"
    yield "     N  nodes  ties  lowest energy  highest membership  features"
    for number, row in enumerate(explanation.problems[:ROWS_MAX]):
        energy = "" if row.energy is None else f"{row.energy:.4f}"
        share = "" if row.membership_max is None else f"{row.membership_max:.3f}"
        mark = "*" if number == chosen else " "
        yield (
            f"  {mark} {number:>2} {row.nodes:>6} {row.ties:>5} {energy:>14} {share:>19} "
            f"{row.published:>9}  {row.problem_id}"
        )
    left = len(explanation.problems) - ROWS_MAX
    if left > 0:
        yield f"    and {left} more"


def _nodes(explanation: "Explanation") -> Iterator[str]:
    """The nodes with their ties as a matrix of sixteenths, and what ties them."""
    problem = explanation.problem
    ties = {(tie.i, tie.j): tie.weight for tie in problem.ties}
    longest = max(len(node.id) for node in problem.nodes)
    yield ""
    yield (
        f"Problem {problem.number}: {len(problem.nodes)} of '{problem.entity}', "
        f"{problem.amount:,.2f} moved, subgraph {problem.subgraph}"
    )
    head = "".join(f"{node.index:>3}" for node in problem.nodes)
    yield f"  {'qubit':<6}{problem.entity:<{longest}}{head}   A in sixteenths"
    for node in problem.nodes:
        cells = ""
        for other in problem.nodes:
            weight = ties.get((min(node.index, other.index), max(node.index, other.index)), 0.0)
            cells += f"{round(weight * 16) or '·':>3}"
        bad = "   known bad" if node.known_bad else ""
        yield f"  q{node.index:<5}{node.id:<{longest}}{cells}{bad}"
    for shared in problem.shared:
        who = " ".join(f"q{member}" for member in shared.members)
        yield (
            f"  {shared.entity} {shared.id} ties {who} ({shared.events} events, "
            f"{shared.amount:,.2f})"
        )
    if explanation.pseudonyms:
        yield f"  ids are keyed hashes for: {', '.join(explanation.pseudonyms)} (sensitive)"


def _model(problem: "ProblemShown") -> Iterator[str]:
    model = problem.model
    told = ", ".join(f"{name} {value:.4f}" for name, value in model.parameters.items())
    yield ""
    yield f"Model '{model.kind}', minimised: {model.formula}"
    yield (
        f"  {told}{'; ' if told else ''}in Ising form {model.couplings} couplings, {model.fields} "
        f"fields, local norm {model.local_norm:.4f}"
    )


def _circuit(
    problem: "ProblemShown", drawing: "Drawing | None", width: int, *, full: bool
) -> Iterator[str]:
    from enrichment.circuit.drawing import folded

    circuit = problem.circuit
    yield ""
    if circuit is None or drawing is None:
        yield "Circuit: none was run"
        return
    yield (
        f"Circuit {circuit.template} {circuit.version}, {circuit.layers} layers: {drawing.qubits} "
        f"qubits, depth {drawing.depth}, {drawing.two_qubit_gates} two-qubit gates of "
        f"{drawing.gates}"
    )
    yield f"  hash {circuit.hash}, recorded {circuit.recorded_hash or 'nowhere'}"
    gammas, betas = (" ".join(f"{x:.6f}" for x in each) for each in (circuit.gammas, circuit.betas))
    yield f"  gammas {gammas}   betas {betas}"
    if circuit.device is not None:
        ran = circuit.device
        yield (
            f"  compiled for {ran.processor}: depth {ran.depth}, {ran.two_qubit_gates} two-qubit "
            f"gates, on {' '.join(ran.qubits)}"
        )
    parts = folded(drawing.text, width - 2)
    for part in parts if full else parts[:1]:
        yield ""
        yield from (f"  {line}" for line in part.splitlines())
    if not full and len(parts) > 1:
        yield f"  part 1 of {len(parts)}: --full for all, --svg FILE for a picture"


def _energies(energies: "Energies | None", width: int) -> Iterator[str]:
    if energies is None:
        return
    yield ""
    yield "Samples by energy (shots in each bin; a better sampler has more of them at the top)"
    room = (width - 22) // max(1, len(energies.counts)) - 7
    most = max(max(counts) for counts in energies.counts.values())
    yield "  " + " " * 20 + "".join(f"{path:<{room + 7}}" for path in energies.counts).rstrip()
    for index, low in enumerate(energies.edges[:-1]):
        line = f"  {low:>8.3f} to {energies.edges[index + 1]:>7.3f} "
        for counts in energies.counts.values():
            bar = BAR * round(counts[index] / most * room) or ("▏" if counts[index] else "")
            line += f"{counts[index] or '·':>5} {bar:<{room}} "
        yield line.rstrip()
    for path in energies.counts:
        at = energies.at_optimum.get(path)
        share = "" if at is None else f", {at:.1%} of shots at the optimum"
        yield (
            f"  {path:<10} best {energies.best[path]:.4f}, mean {energies.mean[path]:.4f}, "
            f"{energies.near_optima[path]} distinct near the best{share}"
        )
    if energies.optimum is not None:
        yield f"  proven optimum {energies.optimum:.4f}"


def _memberships(problem: "ProblemShown") -> Iterator[str]:
    paths = list(dict.fromkeys(path for node in problem.nodes for path in node.memberships))
    yield ""
    if not paths:
        yield "Memberships: none known, for it was not run again and no feature of it is left"
        return
    yield "Membership [95 % interval of shot noise], * in the path's best string; not probabilities"
    gibbs = any(node.gibbs_marginal is not None for node in problem.nodes)
    yield "  " + " " * 6 + "".join(f"{path:<24}" for path in paths) + ("gibbs" if gibbs else "")
    for node in problem.nodes:
        line = f"  q{node.index:<5}"
        for path in paths:
            one = node.memberships.get(path)
            shown = ""
            if one is not None:
                star = "*" if one.in_best else " "
                shown = f"{one.membership:.3f}{star}[{one.low:.3f}, {one.high:.3f}]"
            line += f"{shown:<24}"
        line += "" if node.gibbs_marginal is None else f"{node.gibbs_marginal:.3f}"
        yield f"{line.rstrip()}  {node.id}"
    if problem.differences:
        told = ", ".join(f"{name} {value:.4f}" for name, value in problem.differences.items())
        yield f"  recorded differences of the quantum samples: {told}"


def _published(explanation: "Explanation") -> Iterator[str]:
    problem = explanation.problem
    total = sum(row.published for row in explanation.problems)
    yield ""
    yield f"Features of group 'ring': {total}, of this problem {len(problem.published)}"
    yield f"  {', '.join(problem.published) or 'none'}"
    yield f"  cases: {', '.join(problem.cases) or 'none that no later job has carried on'}"


def _recipe(explanation: "Explanation") -> Iterator[str]:
    recipe = explanation.recipe
    yield ""
    yield f"To run it again: {recipe['command']}"
    for name in (
        "provider",
        "problem_kind",
        "template",
        "layers",
        "shots",
        "seeds",
        "conditions",
        "sdk_versions",
        "calibration_id",
        "enrichment_version",
        "pipeline_version",
        "content_hash",
        "not_recorded",
    ):
        value = recipe[name]
        if isinstance(value, dict):
            value = ", ".join(f"{key} {each}" for key, each in value.items())
        elif isinstance(value, list):
            rest = f" and {len(value) - SEEDS_MAX} more" if len(value) > SEEDS_MAX else ""
            value = " ".join(str(each) for each in value[:SEEDS_MAX]) + rest
        if value not in ("", 0):
            yield f"  {name:<19} {value}"


def _verdict(explanation: "Explanation") -> Iterator[str]:
    verdict = explanation.verdict
    yield ""
    if not verdict.drawn:
        yield f"Not run again: {verdict.not_drawn}"
        return
    yield "Run again:"
    for check in verdict.checks:
        yield f"  {check.name:<12} {_word(check.same):<12} {check.detail}"
    for changed in verdict.changed:
        yield (
            f"  changed      {changed.name}: {changed.recorded or 'none'} then, "
            f"{changed.now or 'none'} now"
        )
    if not verdict.changed:
        yield "  versions and conditions are those of then"
    yield f"same samples: {_word(verdict.same_samples)}"
    if not verdict.agrees:
        why = "; what changed may be why" if verdict.changed else ""
        yield f"NOT THE SAME as recorded{why}"


def _word(same: bool | None) -> str:
    return "not known" if same is None else "yes" if same else "NO"


def _time(at_ms: object) -> str:
    """A time in milliseconds since 1970 for people."""
    return datetime.fromtimestamp(float(str(at_ms)) / 1000, UTC).isoformat(timespec="milliseconds")
