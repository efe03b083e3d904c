"""What `CircuitSampler` needs of the provider that it is handed: shapes, and no import of any.

The contract itself is `enrichment.provider.contract`, which this room must not know; whatever
fulfils it fits these protocols, and a test holds `Request` against it field by field.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import dimod

from enrichment.problem.ising import Bits


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Request:
    """One job for a provider, with the fields and meanings of the contract's `SampleRequest`."""

    job_id: str
    models: tuple[dimod.BinaryQuadraticModel, ...]
    template: str
    template_version: int
    layers: int
    shots: int
    seeds: tuple[int, ...]
    deadline_ms: int
    twins: tuple[str, ...] = ()


@runtime_checkable
class Failed(Protocol):
    """A failure, as a value: its kind decides what may be done about it."""

    @property
    def kind(self) -> str:
        """One of the contract's failure kinds."""
        ...

    @property
    def detail(self) -> str:
        """What happened, for people."""
        ...


class Drawn(Protocol):
    """The samples of one model: `bits` of shape (shots, n), column k the k-th variable."""

    @property
    def sampler(self) -> str:
        """The name of whatever sampled."""
        ...

    @property
    def bits(self) -> Bits:
        """0 or 1, uint8."""
        ...

    @property
    def circuit_hash(self) -> str:
        """The circuit's name, "" where no circuit was run."""
        ...

    @property
    def gammas(self) -> tuple[float, ...]:
        """The circuit's gammas in radians, empty where no circuit was run."""
        ...

    @property
    def betas(self) -> tuple[float, ...]:
        """The circuit's betas in radians, empty where no circuit was run."""
        ...


@runtime_checkable
class Solved(Protocol):
    """A job's answer: one sample set per model."""

    @property
    def sets(self) -> Sequence[Drawn]:
        """The sample sets, in the request's order."""
        ...

    @property
    def calibration_id(self) -> str:
        """The device's calibration, "" for a simulator."""
        ...


class Described(Protocol):
    """What a provider says of itself."""

    @property
    def name(self) -> str:
        """The provider's name."""
        ...

    @property
    def qubits_max(self) -> int:
        """The most variables of one model."""
        ...


class Provider(Protocol):
    """Whatever samples, as the sampler uses it; answers are told apart by their shapes.

    The request is `Any` because its class is the contract's, whose fields `Request` has.
    """

    def submit(self, request: Any, /) -> object:
        """Start a job: a `Failed`, or anything else where it was accepted."""
        ...

    def poll(self, job_id: str, /) -> object:
        """Return how the job stands: a `Failed`, a `Solved`, or anything else while it runs."""
        ...

    def cancel(self, job_id: str, /) -> object:
        """Give the job up."""
        ...

    def describe(self) -> Described:
        """Return what the provider is."""
        ...
