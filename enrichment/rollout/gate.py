"""The gate: whether a path may be let in further, check by check, on one look's evidence. Pure.

Every check must pass. One that cannot know (a figure that is null or no number, nothing run again)
does not pass: what has not been shown is refused as what has been shown to be bad is, in other
words. Of an interval only the end counts that speaks against the path, so that a wider one is
never better.
"""

from collections.abc import Mapping
from math import isfinite
from typing import Final

from enrichment.pipelines.rollout import Gate
from enrichment.records.enriched import Path, Stage
from enrichment.rollout.evidence import NONE, Evidence, Figure
from enrichment.rollout.judgement import Check, CheckVerdict, Judgement, Proofs, Question
from enrichment.rollout.looks import level_of

LEVEL_ROUNDING: Final = 1e-9
"""Levels are computed on both sides: they are equal but for their last bits."""


def judge(evidence: Evidence | None, question: Question, gate: Gate, proofs: Proofs) -> Judgement:
    """Every check of the question, and whether all that apply have passed."""
    if evidence is None:
        checks: tuple[Check, ...] = (
            _check(
                "outcomes", CheckVerdict.NOT_ENOUGH, (">=", gate.looks[0]), "no look at all yet"
            ),
        )
    else:
        checks = (
            _outcomes(evidence, gate),
            _versions(evidence, question),
            _superior(evidence, question.path),
            _not_inferior(evidence, question.path, gate.margin),
            *_proved(proofs, gate),
            *_sampled(evidence, question.path, gate),
            _cost(evidence, question.path, gate),
            _canary(question, gate, proofs),
        )
    fine = {CheckVerdict.PASSED, CheckVerdict.NOT_APPLICABLE}
    against = [check for check in checks if check.verdict not in fine]
    path, target = question.path.value, question.target.value
    conclusion = (
        f"{path} may be {target}: all checks that apply have passed"
        if not against
        else f"{path} may not be {target}: " + "; ".join(check.sentence for check in against)
    )
    return Judgement(
        pipeline=question.pipeline,
        path=question.path,
        before=question.before,
        target=question.target,
        evidence_id="" if evidence is None else evidence.evidence_id,
        experiment_id="" if evidence is None else evidence.experiment_id,
        passed=not against,
        conclusion=conclusion,
        checks=checks,
        evidence=evidence,
        proofs=proofs,
    )


def _outcomes(evidence: Evidence, gate: Gate) -> Check:
    """A completed look, one of those that were fixed beforehand, with intervals as wide as due."""
    look, bad = evidence.look, evidence.counts.bad
    wanted = gate.looks[min(max(look, 1), len(gate.looks)) - 1]
    verdict = CheckVerdict.FAILED
    if evidence.looks != gate.looks or not evidence.level >= level_of(gate) - LEVEL_ROUNDING:
        sentence = "the evidence was weighed by other looks, or with narrower intervals"
    elif not 1 <= look <= len(gate.looks) or bad < wanted:
        verdict = CheckVerdict.NOT_ENOUGH
        sentence = f"{bad} bad events are known, and a look is taken at each of {gate.looks}"
    else:
        verdict, sentence = CheckVerdict.PASSED, f"look {look}, at {bad} bad events"
    return _check("outcomes", verdict, (">=", wanted), sentence, Figure(value=bad))


def _versions(evidence: Evidence, question: Question) -> Check:
    """The evidence is of the experiment that runs, and that is of the files of now."""
    experiment = question.experiment
    changed = [
        what
        for what, then, now in (
            ("pipeline", evidence.pipeline, question.pipeline),
            ("pipeline file", evidence.pipeline_version, question.pipeline_version),
            ("score table", evidence.score_version, question.score_version),
            ("experiment", evidence.experiment_id, experiment.experiment_id if experiment else ""),
            (
                "pipeline file",
                experiment and experiment.pipeline_version,
                question.pipeline_version,
            ),
            ("score table", experiment and experiment.score_version, question.score_version),
        )
        if then != now
    ]
    if experiment is None:
        verdict, sentence = CheckVerdict.FAILED, "no experiment runs: `enrichment experiment start`"
    elif changed:
        names = ", ".join(dict.fromkeys(changed))
        verdict, sentence = CheckVerdict.FAILED, f"not what the evidence is of any more: {names}"
    else:
        verdict, sentence = CheckVerdict.PASSED, f"unchanged since {experiment.experiment_id} began"
    return _check("versions", verdict, ("unchanged", None), sentence)


def _superior(evidence: Evidence, path: Path) -> Check:
    """Superior to no ring features: the interval's low end is above nought."""
    name = f"{path.value}-{NONE}"
    return _low_end("superior", evidence.differences.get(name), 0.0, f"over {NONE}")


def _not_inferior(evidence: Evidence, path: Path, margin: float) -> Check:
    """Not inferior to the classical twin by the margin or more."""
    if path is not Path.QUANTUM:
        sentence = f"{path.value} is the twin that others are held against"
        return _check("not_inferior", CheckVerdict.NOT_APPLICABLE, (">", -margin), sentence)
    figure = evidence.differences.get(f"{path.value}-{Path.CLASSICAL.value}")
    return _low_end("not_inferior", figure, -margin, "over the classical twin")


def _low_end(name: str, figure: Figure | None, threshold: float, over: str) -> Check:
    """Whether a difference of average precision is above the threshold with its whole interval."""
    demanded = (">", threshold)
    low = _known(None if figure is None else figure.low)
    value = _known(None if figure is None else figure.value)
    if low is None or value is None:
        sentence = f"average precision {over}: not known"
        return _check(name, CheckVerdict.NOT_ENOUGH, demanded, sentence, figure)
    sentence = f"average precision {over}: {value:+.4f}, at least {low:+.4f}"
    return _check(name, _passed(low > threshold), demanded, sentence, figure)


def _proved(proofs: Proofs, gate: Gate) -> tuple[Check, ...]:
    """What was done again on the spot came out as it was, and enough of it was done."""
    wanted = gate.reproduced_jobs
    return (
        _all_of("rescored", (proofs.rescored_equal, proofs.rescored), wanted),
        _all_of("energies", (proofs.energies_right, proofs.energies), 1),
        _all_of("reproduced", (proofs.reproduced_equal, proofs.reproduced), wanted),
    )


def _all_of(name: str, counted: tuple[int, int], wanted: int) -> Check:
    """Whether all that were tried came out right, and enough were."""
    right, tried = counted
    if right != tried:
        verdict = CheckVerdict.FAILED
    else:
        verdict = CheckVerdict.PASSED if tried >= wanted else CheckVerdict.NOT_ENOUGH
    sentence = f"{name}: {right} of {tried} came out the same"
    if tried < wanted:
        sentence += f", and {wanted} are asked for"
    demanded = ("all of", float(max(tried, wanted)))
    return _check(name, verdict, demanded, sentence, Figure(value=right))


def _sampled(evidence: Evidence, path: Path, gate: Gate) -> tuple[Check, ...]:
    """What the jobs themselves show: whether they can be trusted, in time, and end well."""
    figures = evidence.sampling.figures
    if path is Path.QUANTUM:
        deviation = _at_most("repeat_deviation", figures, gate.repeat_deviation_max)
    else:
        deviation = _check(
            "repeat_deviation",
            CheckVerdict.NOT_APPLICABLE,
            ("<=", gate.repeat_deviation_max),
            "it is measured on circuits",
        )
    return (
        deviation,
        _at_most("latency_p99_ms", figures, gate.latency_p99_ms_max),
        _at_most("failed_share", figures, gate.failed_share_max),
    )


def _cost(evidence: Evidence, path: Path, gate: Gate) -> Check:
    """What each bad event costs that the path catches and the heuristic does not."""
    of_path = evidence.paths.get(path.value)
    figures = {} if of_path is None else of_path.figures
    return _at_most("cost_per_caught", figures, gate.cost_per_caught_max)


def _at_most(name: str, figures: Mapping[str, Figure], threshold: float) -> Check:
    """Whether a figure is known, and no larger than it may be."""
    figure, demanded = figures.get(name), ("<=", threshold)
    value = _known(None if figure is None else figure.value)
    words = name.replace("_", " ")
    if value is None:
        return _check(name, CheckVerdict.NOT_ENOUGH, demanded, f"{words}: not known", figure)
    sentence = f"{words} {value:.6g}, at most {threshold:.6g}"
    return _check(name, _passed(value <= threshold), demanded, sentence, figure)


def _canary(question: Question, gate: Gate, proofs: Proofs) -> Check:
    """Before it serves everybody a path has been seen to serve some, without being taken out.

    A demotion ends a canary, and the next one begins anew: what it has seen is since then.
    """
    bad, wanted = proofs.canary_bad, gate.canary_bad_min
    demanded = (">=", float(wanted))
    if question.target is not Stage.LIVE:
        return _check("canary", CheckVerdict.NOT_APPLICABLE, demanded, "it is not to be live yet")
    if question.before is not Stage.CANARY:
        sentence = f"it is {question.before.value}: only a canary goes live"
        return _check("canary", CheckVerdict.FAILED, demanded, sentence)
    if bad is None:
        sentence = "what it has served is not known"
        return _check("canary", CheckVerdict.NOT_ENOUGH, demanded, sentence)
    verdict = CheckVerdict.PASSED if bad >= wanted else CheckVerdict.NOT_ENOUGH
    sentence = f"{bad} bad events served by this canary, of {wanted}"
    return _check("canary", verdict, demanded, sentence, Figure(value=bad))


def _passed(yes: bool) -> CheckVerdict:
    return CheckVerdict.PASSED if yes else CheckVerdict.FAILED


def _known(value: float | None) -> float | None:
    """The value, where it is a number: nothing that is compared with NaN may pass."""
    return value if value is not None and isfinite(value) else None


def _check(
    name: str,
    verdict: CheckVerdict,
    demanded: tuple[str, float | None],
    sentence: str,
    figure: Figure | None = None,
) -> Check:
    said, threshold = demanded
    return Check(
        name=name,
        verdict=verdict,
        demanded=said if threshold is None else f"{said} {threshold:g}",
        threshold=threshold,
        sentence=sentence,
        figure=None if figure is None else _known(figure.value),
        low=None if figure is None else _known(figure.low),
        high=None if figure is None else _known(figure.high),
    )
