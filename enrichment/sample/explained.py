"""What an explained job consists of: plain figures, for text, JSON and pictures alike."""

from dataclasses import dataclass

from enrichment.records.job import DeviceRun
from enrichment.sample.again import Changed, Check


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """One path's `ring_membership` of one node, with its `shot_interval`: not a probability."""

    membership: float
    low: float
    high: float
    in_best: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One account of the problem: variable and qubit `index`."""

    index: int
    id: str
    known_bad: bool
    memberships: dict[str, Membership]
    gibbs_marginal: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tie:
    """A pair of nodes that share something; `weight` is the clipped adjacency A_ij."""

    i: int
    j: int
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedBy:
    """What ties nodes: a device or beneficiary, and the nodes by index."""

    entity: str
    id: str
    members: tuple[int, ...]
    events: int
    amount: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """The energy that is minimised, in the problem's own terms and in Ising form (`local_norm`)."""

    kind: str
    formula: str
    parameters: dict[str, float]
    couplings: int
    fields: int
    local_norm: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """The circuit by its parameters; angles in radians. `device` is how it ran on one."""

    template: str
    version: int
    layers: int
    gammas: tuple[float, ...]
    betas: tuple[float, ...]
    hash: str
    recorded_hash: str
    device: DeviceRun | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Energies:
    """Each path's samples by energy: counts in bins between `edges`, by path."""

    edges: tuple[float, ...]
    counts: dict[str, tuple[int, ...]]
    best: dict[str, float]
    mean: dict[str, float]
    near_optima: dict[str, int]
    optimum: float | None
    # Share of the shots at the proven optimum, by path.
    at_optimum: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One problem in the list of a job's: `energy` is the lowest that any path found."""

    problem_id: str
    nodes: int
    ties: int
    energy: float | None
    membership_max: float | None
    published: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemShown:
    """One problem, from its nodes to what was published of it."""

    number: int
    problem_id: str
    entity: str
    subgraph: str
    seed: int
    amount: float
    nodes: tuple[Node, ...]
    ties: tuple[Tie, ...]
    shared: tuple[SharedBy, ...]
    model: Model
    circuit: Circuit | None
    energies: Energies | None
    differences: dict[str, float]
    published: tuple[str, ...]
    cases: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether the job drawn again is the same; `not_drawn` says why it was not drawn."""

    drawn: bool
    not_drawn: str
    same_samples: bool | None
    agrees: bool
    checks: tuple[Check, ...]
    changed: tuple[Changed, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A job explained; `recipe` is everything that it takes to draw it again."""

    job: dict[str, str | int | float]
    durations_ms: dict[str, float]
    problems: tuple[Row, ...]
    problem: ProblemShown
    recipe: dict[str, object]
    pseudonyms: tuple[str, ...]
    verdict: Verdict
