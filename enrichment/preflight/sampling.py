"""Questions about who samples, what is asked of them, and what happens when they are away."""

from typing import Final

from enrichment.pipelines.definition import CLASSICAL_PROVIDERS, RANDOM_PROVIDER
from enrichment.preflight.answer import Answer, failed, not_applicable, passed
from enrichment.preflight.facts import Facts, Part
from enrichment.profile import Profile
from enrichment.provider import CALIBRATED, PROVIDERS
from enrichment.sample.retry import ATTEMPTS_MAX, BACKOFF_FIRST_MS, BACKOFF_MAX_MS, RUN_MS_MIN

SIMULATORS: Final = ("qsim", "virtual")
"""Providers that run circuits on this machine, for nothing."""

NO_CIRCUITS: Final = CLASSICAL_PROVIDERS | {RANDOM_PROVIDER}

DEVICES: Final = frozenset({"google", "ionq"})
"""Providers that may be hardware, of somebody else's."""

CALIBRATION_AGE_MS_MAX: Final = 172_800_000
"""Two days. Processors are calibrated about daily: an older one is a device that nobody tends."""

TWO_QUBIT_GATES_MAX: Final = 200
"""On a device. At an error of .4 % a gate, 45 % of the shots of such a circuit see none; with 146
gates a virtual device kept .55 of a ratio of .63 (docs/devices.md). Beyond, noise is the answer."""

SIMULATED_GATES_MAX: Final = 600
"""On a simulator: three layers of 20 variables are 570, the most that a pipeline file can ask."""


def fallback(facts: Facts) -> Answer:
    """What happens when the provider is away."""
    sampling, features = facts.pipeline.sampling, facts.pipeline.features
    shown = " → ".join((*facts.chain, "cached feature", "heuristic"))
    if not sampling.fallback:
        return failed(
            f"{facts.chain[0]} has no fallback",
            'name some under [sampling]: fallback = ["exact", "annealing"]',
        )
    last = facts.chain[-1]
    if last not in CLASSICAL_PROVIDERS:
        return failed(
            f"the chain ends in {last}, which may be away too: {shown}",
            "let [sampling] fallback end in `exact` or `annealing`: they run in the stage itself",
        )
    if sampling.deadline_ms >= features.fresh_ms:
        return failed(
            f"the fallback goes out after {sampling.deadline_ms} ms, and features are fresh for "
            f"{features.fresh_ms} ms",
            "lower [sampling] deadline_ms, or raise [features] fresh_ms",
        )
    return passed(f"{shown}, by {sampling.deadline_ms} ms")


def retries(facts: Facts) -> Answer:
    """Whether attempts end, and a first failure leaves time for a second attempt."""
    deadline_ms = facts.pipeline.sampling.deadline_ms
    needed_ms = BACKOFF_FIRST_MS + 2 * RUN_MS_MIN
    if deadline_ms < needed_ms:
        return failed(
            f"a deadline of {deadline_ms} ms leaves no time for a second attempt",
            f"raise [sampling] deadline_ms to {needed_ms} or more",
        )
    return passed(
        f"at most {ATTEMPTS_MAX} attempts at a provider, waits up to {BACKOFF_MAX_MS} ms, all "
        f"within {deadline_ms} ms"
    )


def simulator(facts: Facts) -> Answer:
    """Which simulator computes where no device does."""
    if (broken := _null(facts)) is not None:
        return broken
    chosen = facts.chain[0]
    if chosen in CLASSICAL_PROVIDERS:
        return not_applicable(f"{chosen} runs no circuits")
    if chosen == "qsim":
        return passed("qsim, and it is asked first")
    if "qsim" in facts.chain:
        return passed(f"qsim, after {facts.chain[facts.chain.index('qsim') - 1]}")
    if chosen in SIMULATORS:
        return passed(f"{chosen}: a simulator with a device's published noise")
    return facts.lenient(
        f"{chosen}, and no simulator after it: with the device away no circuit is run",
        'add "qsim" to [sampling] fallback, before the classical ones',
        until=Profile.VALIDATION,
    )


def _null(facts: Facts) -> Answer | None:
    """What the profile says of the null as a provider; the control topic may have chosen it too."""
    chosen = facts.chain[0]
    if chosen != RANDOM_PROVIDER:
        return None
    return facts.lenient(
        "random, the null: its samples say nothing of any problem",
        "name `qsim` under [sampling], or with `enrichment rollout provider`",
        until=Profile.VALIDATION,
    )


def providers(facts: Facts) -> Answer:
    """Whether every provider that may be asked is known, has its credentials and its price."""
    for name in facts.asked:
        if name not in PROVIDERS:
            return failed(
                f"there is no provider {name}", f"known under [sampling]: {', '.join(PROVIDERS)}"
            )
    asked = ", ".join(facts.asked)
    unready = [name for name in facts.asked if name in DEVICES - facts.settings.ready]
    if unready:
        name = unready[0]
        return failed(
            f"{name} is asked ({asked}), and its settings are missing",
            f"set {'ENRICHMENT_IONQ_API_KEY' if name == 'ionq' else 'ENRICHMENT_GOOGLE_PROJECT'}"
            + ("" if name == "ionq" else " and ENRICHMENT_GOOGLE_PROCESSOR"),
        )
    paid = [name for name in facts.asked if facts.settings.prices.get(name)]
    if paid and not facts.pipeline.budget.day:
        return failed(
            f"{paid[0]} costs {facts.settings.prices[paid[0]]:g} a shot, and the pipeline may "
            "spend nothing",
            "say in its file what it may spend: [budget] day",
        )
    unpriced = [name for name in facts.asked if name in DEVICES and name not in paid]
    if unpriced:
        name = unpriced[0]
        return facts.lenient(
            f"{asked}; {name} has no price, so no budget bounds it",
            f"set ENRICHMENT_{name.upper()}_PRICE_PER_SHOT to what a shot is billed at",
        )
    price = ", ".join(f"{name} {facts.settings.prices[name]:g} a shot" for name in paid)
    cost = f"{price}, at most {facts.pipeline.budget.day:g} a day" if paid else "none asks money"
    # That credentials open the door is known once a job is sent, and not asked here.
    return passed(f"{asked}; {cost}" + ("; credentials set, not tried" if paid else ""))


def calibration(facts: Facts) -> Answer:
    """How old the calibration of each device is that may be asked."""
    tended = [name for name in facts.asked if name in CALIBRATED and name in DEVICES]
    if not tended:
        others = [name for name in facts.asked if name in DEVICES]
        if others:
            return not_applicable(f"{', '.join(others)} says nothing of its calibration")
        snapshot = "virtual" in facts.asked
        why = "; virtual has one snapshot" if snapshot else ""
        return not_applicable(f"no device is asked{why}")
    if (lack := facts.lacking(Part.KAFKA, Part.CONTROL)) is not None:
        return lack
    for name in tended:
        made_ms = facts.calibrated_ms.get(name)
        if made_ms is None:
            return facts.lenient(
                f"{name}: none is known",
                "start the sample stage, which asks the device and notes it on enrichment.control",
                until=Profile.VALIDATION,
            )
        age_h = (facts.now_ms - made_ms) / 3_600_000
        if facts.now_ms - made_ms > CALIBRATION_AGE_MS_MAX:
            return failed(
                f"{name}: {age_h:.0f} hours old, of {CALIBRATION_AGE_MS_MAX // 3_600_000}",
                "ask who runs the device, or take another: `enrichment rollout provider`",
            )
    ages = ", ".join(
        f"{name} {(facts.now_ms - facts.calibrated_ms[name]) / 3_600_000:.0f} hours"
        for name in tended
    )
    return passed(ages)


def circuit(facts: Facts) -> Answer:
    """How deep the largest circuit is, how many two-qubit gates and measurements it has."""
    if all(name in NO_CIRCUITS for name in facts.asked):
        return not_applicable("no provider of the chain runs circuits")
    found = facts.circuit
    if found is None:
        return not_applicable("cirq is not installed here: `pip install 'enrichment[sample]'`")
    ideal = found.gates == "ideal"
    most = SIMULATED_GATES_MAX if ideal else TWO_QUBIT_GATES_MAX
    problem, sampling = facts.pipeline.problem, facts.pipeline.sampling
    seen = (
        f"{found.variables} variables, {found.layers} layers, {found.gates}: depth {found.depth}, "
        f"{found.two_qubit_gates} two-qubit gates of {most}, {found.measurements} measured; "
        f"{sampling.shots} shots, {problem.problems_max} problems at most"
    )
    if found.two_qubit_gates > most:
        return facts.lenient(
            seen,
            "lower [problem] variables_max or [sampling] layers: on that device noise is the answer"
            if not ideal
            else "lower [problem] variables_max or [sampling] layers",
            until=Profile.VALIDATION,
        )
    return passed(seen)
