"""A job: one micro-batch on its way through a provider, as the ledger knows it."""

from enum import Enum

import msgspec

from enrichment.records.micro_batch import MicroBatch


class JobState(Enum):
    """Where a job stands."""

    PENDING = "pending"
    SUBMITTED = "submitted"
    EXECUTING = "executing"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    FALLBACK_COMPLETE = "fallback_complete"


class Charge(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one attempt may cost, then what it did cost, in millionths of the currency.

    It is in the ledger before the budget is asked and the attempt submitted: whoever adds up the
    ledger misses nothing that was allowed. `day` counts UTC days since 1970.
    """

    attempt: int
    provider: str
    day: int
    micro: int
    # What the provider says that it cost, or nothing where it never took it; a bound until then.
    settled: bool = False


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One ledger entry. The payload stays in it until the job is terminal, and then leaves."""

    job_id: str
    pipeline: str
    shard: str
    micro_batch_id: str
    state: JobState
    attempt: int
    created_ms: int
    updated_ms: int
    deadline_ms: int
    provider: str = ""
    provider_job_id: str = ""
    problems: int = 0
    shots: int = 0
    seed: int = 0
    cost_micro: int = 0
    detail: str = ""
    experiment_id: str = ""
    correlation_id: str = ""
    # The micro-batch's: another content under the same identity is a conflict, never solved.
    content_hash: str = ""
    micro_batch: MicroBatch | None = None
    # How often it was found unfinished by a worker that has just been assigned its partition.
    adoptions: int = 0
    # Set aside: it has failed the same way again and again, or somebody said so.
    quarantined: bool = False
    # When the newest order of an operator that was carried out was given.
    ordered_ms: int = 0
    # It had published a fallback when it was tried again: older jobs of its shard may not any more.
    published: bool = False
    # One for each attempt that a provider may ask money for; simulators' are of nothing.
    charges: tuple[Charge, ...] = ()
    # The job that this one is a spot check of: the same micro-batch, asked of another provider.
    # What it finds is recorded and never published.
    check_of: str = ""
    # The provider that it was begun with, the first of its chain, whatever `enrichment.control` has
    # said since; "" in records older than this field: the pipeline file's.
    chosen: str = ""


class DeviceRun(msgspec.Struct, frozen=True, kw_only=True):
    """How one problem's circuit was run on a device: where, how long, and its mean energy.

    `qubits` are those that held the problem's variables at the measurement, in their order; `depth`
    and `two_qubit_gates` are those of the compiled circuit. `mean_energy` has the readout's errors
    taken out where `readout_corrected`, and else equals `mean_energy_read`.
    """

    processor: str
    qubits: tuple[str, ...]
    depth: int
    two_qubit_gates: int
    # Minus the logarithm of the chance of no error at all, as lines are chosen by.
    line_cost: float
    mean_energy_read: float
    mean_energy: float
    readout_corrected: bool
    # By which the line was costed and the readout corrected; the job's own is the event's.
    calibration_id: str = ""


class KeptSamples(msgspec.Struct, frozen=True, kw_only=True):
    """The earlier request whose samples one problem was given: nothing was run for it.

    The same draw, whatever the job's own seed: with the earlier job's it is one piece of evidence.
    """

    # Of the request at the provider: the job's id, its attempt, and its first problem's number.
    request_id: str
    provider_job_id: str
    paid_at_ms: int
    seed: int = 0
    # Under which the samples were drawn; the job's own is the event's.
    calibration_id: str = ""


class JobRun(msgspec.Struct, frozen=True, kw_only=True):
    """What a job's samples depend on beside its models and seeds: enough to draw them again.

    `conditions` are the provider's own, by name: the class of machine, the simulator's settings.
    Equal seeds give equal samples under equal conditions and SDK versions; under others they may.
    """

    problem_kind: str
    template: str
    template_version: int
    # Of the ansatz; a classical sampler has none and ignores it.
    layers: int
    shots: int
    conditions: dict[str, str] = {}
    pipeline_version: str = ""
    enrichment_version: str = ""


class JobEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One transition of one job, kept in full on `sampling.job-events`."""

    job_id: str
    pipeline: str
    shard: str
    attempt: int
    at_ms: int
    event: str
    state_before: JobState
    state_after: JobState
    provider: str = ""
    provider_job_id: str = ""
    detail: str = ""
    # Stage -> milliseconds: queue, execution, retrieval, post_processing.
    durations_ms: dict[str, float] = {}
    # Hashes of what was run, and what the twins made of it, by problem.
    circuit_hashes: tuple[str, ...] = ()
    model_hashes: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    sdk_versions: dict[str, str] = {}
    calibration_id: str = ""
    # Problem id -> figure -> value: energy gap, mean |delta membership|, histogram distance.
    differences: dict[str, dict[str, float]] = {}
    # By problem id; empty where no device was used, virtual or real.
    device_runs: dict[str, DeviceRun] = {}
    # By problem id; only of those that have the samples of an earlier job.
    kept: dict[str, KeptSamples] = {}
    # Path (quantum, classical, random) -> a hash of each problem's samples, in order: whoever draws
    # them again can tell whether they are the same. Empty in records older than this field.
    sample_hashes: dict[str, tuple[str, ...]] = {}
    # Only with an answer; none in records older than this field.
    run: JobRun | None = None
    # Of an operator's order: which one this was, or which one was refused.
    order_id: str = ""
    # Why its features and cases were not published, though it has an answer.
    withheld: str = ""
    experiment_id: str = ""
    # See `Job.check_of`. Its `differences` are from the simulator's samples, too: `simulator_...`.
    check_of: str = ""
    # See `Job.chosen`: another `provider` is a fallback.
    chosen: str = ""
    # What the attempts have cost so far, in millionths of the currency.
    cost_micro: int = 0
