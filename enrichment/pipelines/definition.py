"""The shape of a pipeline file: one frozen type per table, defaults where most streams agree."""

from enum import Enum
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from enrichment.pipelines.probability import RingProbability, Sampled
from enrichment.pipelines.rollout import RolloutDefinition
from enrichment.pipelines.table import Field, Name, Provenance, Table

EXACT_MAX: Final = 16
"""Up to so many variables the classical path's samples are the exact solver's."""
CLASSICAL_PROVIDERS: Final = frozenset({"exact", "annealing"})
"""Whose samples are the classical path's. Whatever else is no null is a circuit's."""
RANDOM_PROVIDER: Final = "random"
VARIABLES_MAX: Final = 20  # 16 MiB of complex128 amplitudes

PositiveMs = Annotated[int, Meta(gt=0)]
SpanMs = Annotated[int, Meta(ge=0)]


class Stream(Table, frozen=True):
    """`[stream]`: where id, key, time and amount stand in an event.

    `time` is read as integer milliseconds since 1970 or as an RFC 3339 string.
    """

    name: Name
    id: Field
    key: Field
    time: Field
    amount: Field | None = None
    # Minor units per unit of the amount field: 100 for currencies with cents.
    amount_scale: Annotated[int, Meta(gt=0)] = 100
    # Fields whose values are replaced by a keyed hash before they leave the enricher.
    sensitive: tuple[Field, ...] = ()
    # "kept" leaves them as they are in the enriched event's own `event`, and nowhere else: for
    # streams whose every reader may see them.
    sensitive_in_event: Literal["hidden", "kept"] = "hidden"


class Labels(Table, frozen=True):
    """`[labels]`: the field that later turns out to say whether an event was bad.

    Without `positive_below` any true value is bad; with it, any number below that.
    """

    field: Field
    positive_below: float | None = None


class Entity(Table, frozen=True):
    """One role in an event: its field, and the kind it is cached under (else the role's name)."""

    field: Field
    kind: Name = ""


class LinkDefinition(Table, frozen=True, rename={"from_": "from"}):
    """`[[links]]`: two accounts that share something (`between`, `via`), or a direct link."""

    between: Name | None = None
    via: Name | None = None
    from_: Name | None = None
    to: Name | None = None
    # Attributes shared by more are hubs (a carrier's address, a payroll), and tie nobody.
    degree_max: Annotated[int, Meta(gt=1)] = 30
    # What one such link adds to the adjacency of two nodes, before it is shared out among many.
    weight: Annotated[float, Meta(gt=0, le=1)] = 1.0

    @property
    def direct(self) -> bool:
        """Whether the link itself joins two nodes, without an attribute between them."""
        return self.from_ is not None

    @property
    def roles(self) -> tuple[str, str]:
        """The two roles whose entities appear together."""
        return (self.from_ or self.between or "", self.to or self.via or "")

    @property
    def name(self) -> str:
        """The link's key in digests."""
        a, b = self.roles
        return f"{a}>{b}" if self.direct else f"{a}~{b}"


class AggregateDefinition(Table, frozen=True):
    """`[[aggregates]]`: count and mean of one field per entity, over a span that may lag behind.

    `span_ms = 0` means the whole horizon. `delay_ms` hides younger values: a label
    that is known only a week later may feed features only a week later.
    """

    name: Name
    entity: Name
    # A numeric field of the event, or "label": 1 for a bad event, else 0.
    field: Field
    span_ms: SpanMs = 0
    delay_ms: SpanMs = 0


class Window(Table, frozen=True):
    """`[window]`: panes, windows and the horizon, in event time."""

    pane_ms: PositiveMs = 500
    size_ms: PositiveMs = 2_000
    events_max: Annotated[int, Meta(gt=0)] = 5_000
    lateness_ms: SpanMs = 500
    idle_close_ms: PositiveMs = 1_000
    # A window that has been open for longer than this, its length and the lateness aside, is
    # closed: some source's clock is behind.
    open_max_ms: PositiveMs = 30_000
    # A digest that lies further ahead of when it was written is quarantined: that clock is wrong.
    ahead_max_ms: SpanMs = 60_000
    horizon_ms: PositiveMs = 21_600_000
    # What one shard's graph may take in memory, about: beyond it, what was seen least lately goes.
    horizon_max_mib: Annotated[int, Meta(gt=0)] = 1_024
    # How often that graph is kept on a topic: a restart reads digests of about so long again.
    keep_ms: PositiveMs = 20_000
    # Over which spans, beside the horizon, events and amounts are counted; shorter than that.
    spans_ms: Annotated[tuple[PositiveMs, ...], Meta(max_length=4)] = ()
    # The field that says which shard an event belongs to; without it there is one shard.
    shard: Field | None = None


class ProblemDefinition(Table, frozen=True):
    """`[problem]`: what a candidate subgraph is turned into."""

    kind: Name = "ring"
    variables_max: Annotated[int, Meta(ge=3, le=VARIABLES_MAX)] = 12
    problems_max: Annotated[int, Meta(gt=0, le=1_000)] = 64
    # The least adjacency that counts: below it, sharing is coincidence.
    weight_min: Annotated[float, Meta(ge=0, le=1)] = 0.35


class Sampling(Table, frozen=True):
    """`[sampling]`: who solves the problems, with which circuit, and by when."""

    provider: Name = "qsim"
    fallback: tuple[Name, ...] = ("exact", "annealing")
    layers: Annotated[int, Meta(ge=1, le=3)] = 2
    shots: Annotated[int, Meta(ge=50, le=100_000)] = 1_000
    # Where the deadline or the budget is tight a job gets fewer, down to this: a tenth of the usual
    # serves nearly as well (AUC .816 at 100 shots, .824 at 1,000).
    shots_min: Annotated[int, Meta(ge=50, le=100_000)] | None = None
    # Where intervals are wider than `interval_max` it gets more, up to this; 0 asks for no width.
    shots_max: Annotated[int, Meta(ge=50, le=100_000)] | None = None
    interval_max: Annotated[float, Meta(ge=0, le=1)] = 0.0
    deadline_ms: PositiveMs = 10_000
    # The file beside the pipeline's that says what memberships have been worth; "" for none.
    probability: str = ""

    @property
    def chain(self) -> tuple[str, ...]:
        """The chosen provider and its fallbacks, in order, each once."""
        return tuple(dict.fromkeys((self.provider, *self.fallback)))


class Budget(Table, frozen=True):
    """`[budget]`: what this pipeline may spend at providers that ask money, in their currency."""

    # In a UTC day. Nothing where nothing is said: then only what is free is used.
    day: Annotated[float, Meta(ge=0, le=1e9)] = 0.0


STAGES_OF_CALLS: Final = ("project", "sample")
"""The stages that a pipeline of calls has. The others are of events, and the window stage would
take callers' micro-batches for its own closes."""


class Calls(Table, frozen=True):
    """`[calls]`: micro-batches come from callers of the console's API, and from no window stage.

    The stream has no events then: nothing is windowed and nothing is scored.
    """

    # The kind of a problem's nodes, under which what is found of them is cached.
    entity: Name = "node"


class Cases(Table, frozen=True):
    """`[cases]`: when a sampled subgraph becomes a case for somebody to work on."""

    membership_min: Annotated[float, Meta(ge=0, le=1)] = 0.5
    members_min: Annotated[int, Meta(ge=2)] = 3
    density_min: Annotated[float, Meta(ge=0, le=1)] = 0.3


class Features(Table, frozen=True):
    """`[features]`: how long features count as fresh and as stale, by which clock."""

    fresh_ms: PositiveMs = 30_000
    stale_ms: PositiveMs = 86_400_000
    half_life_ms: PositiveMs = 3_600_000
    clock: Literal["wall", "event"] = "wall"
    # How far two machines' clocks may differ before the promises about age stop holding.
    skew_ms: SpanMs = 1_000


class Transform(Enum):
    """What a term does to its value before weighing it."""

    IDENTITY = "identity"
    LOG1P = "log1p"
    ABOVE = "above"


class Term(Table, frozen=True):
    """`[[terms]]` of a score table, or `[[score.terms]]`: one addend of the log-odds.

    It is `weight * transform(value / over)`.
    `value` and `over` are `event.FIELD` or `ROLE.GROUP.FEATURE`. Where one is not known, `prior`
    stands for the whole quotient. `above` is 1 where the quotient exceeds `threshold`, else 0.
    """

    name: Name
    value: Field
    weight: float
    prior: float = 0.0
    over: Field | None = None
    transform: Transform = Transform.IDENTITY
    threshold: float = 0.0
    maximum: float = 1e6


class Levels(Table, frozen=True):
    """`[levels]`, or `[score.levels]`: the least score of each level above normal, 0 to 100."""

    elevated: Annotated[float, Meta(ge=0, le=100)] = 50.0
    highest: Annotated[float, Meta(ge=0, le=100)] = 90.0


class Decisions(Table, frozen=True):
    """`[decisions]`, or `[score.decisions]`: what each level leads to."""

    normal: Literal["approve", "review", "decline"] = "approve"
    elevated: Literal["approve", "review", "decline"] = "review"
    highest: Literal["approve", "review", "decline"] = "decline"
    not_assessed: Literal["approve", "review", "decline"] = "review"


class Score(Table, frozen=True):
    """The score table, versioned, as log-odds of a bad event; and which path serves.

    Everything but `serve` may stand in a file of its own, which `[score] table` names: see
    `ScoreTable`. The loader puts both together here.
    """

    version: Field
    bias: float
    terms: Annotated[tuple[Term, ...], Meta(min_length=1)]
    # The path that serves where its features are known; less follows when they are not.
    serve: Literal["heuristic", "classical", "quantum"] = "classical"
    levels: Levels = Levels()
    decisions: Decisions = Decisions()
    provenance: Provenance | None = None
    # The file beside the pipeline's that all but `serve` was read from; "" where it stands here.
    table: str = ""


class ScoreTable(Table, frozen=True):
    """A score table's file, `payments.score.toml`: what `enrichment fit` writes."""

    version: Field
    bias: float
    terms: Annotated[tuple[Term, ...], Meta(min_length=1)]
    levels: Levels = Levels()
    decisions: Decisions = Decisions()
    provenance: Provenance | None = None


class Replay(Table, frozen=True):
    """`[replay]`: how a file's columns become an event's fields."""

    # Column in the file -> field of the event. Columns not named keep their names.
    columns: dict[Field, Field] = msgspec.field(default_factory=dict)
    # "unix_s", "unix_ms", "rfc3339" or a strptime pattern, read as UTC.
    time_format: Field = "rfc3339"


class Limits(Table, frozen=True):
    """`[limits]`: what an event may be before it is a dead letter."""

    size_bytes_max: Annotated[int, Meta(gt=0, le=900_000)] = 65_536
    depth_max: Annotated[int, Meta(gt=0, le=100)] = 16
    # An event later than the wall clock by more than this has an absurd time.
    future_ms: SpanMs = 86_400_000
    # The earliest event time that is not absurd: 2000-01-01.
    earliest_ms: SpanMs = 946_684_800_000


class Pipeline(Table, frozen=True):
    """One stream, as its file describes it."""

    stream: Stream
    entities: dict[Name, Field | Entity]
    score: Score
    labels: Labels | None = None
    links: tuple[LinkDefinition, ...] = ()
    aggregates: tuple[AggregateDefinition, ...] = ()
    window: Window = Window()
    problem: ProblemDefinition = ProblemDefinition()
    sampling: Sampling = Sampling()
    budget: Budget = Budget()
    rollout: RolloutDefinition = RolloutDefinition()
    cases: Cases = Cases()
    # None: micro-batches are the window stage's.
    calls: Calls | None = None
    features: Features = Features()
    replay: Replay = Replay()
    limits: Limits = Limits()
    # What `[sampling] probability` names, read by the loader: see `RingProbability`.
    probability: RingProbability | None = None
    # Hash of the file and of the score table beside it, set by the loader.
    version: str = ""
    # Name -> text of those files, for the record of changes; set by the loader.
    files: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def name(self) -> str:
        """The stream's name, which is the pipeline's."""
        return self.stream.name

    def field(self, role: str) -> str:
        """The event's field that holds the role's entity id."""
        entity = self.entities[role]
        return entity if isinstance(entity, str) else entity.field

    def kind(self, role: str) -> str:
        """The kind under which the role's entity is cached."""
        entity = self.entities[role]
        return role if isinstance(entity, str) else entity.kind or role

    @property
    def node_kind(self) -> str | None:
        """The kind of a problem's nodes, or None where the stream links nothing."""
        if self.calls is not None:
            return self.calls.entity
        return self.kind(self.links[0].roles[0]) if self.links else None

    def sampled(self, path: str) -> Sampled | None:
        """Whose memberships that path has here; None where that is not one and the same sampler."""
        if path not in {"classical", "quantum"}:
            return None
        sampling, problem = self.sampling, self.problem
        chosen = sampling.provider
        layers = 0
        if path == "classical" and chosen not in CLASSICAL_PROVIDERS:
            if problem.variables_max > EXACT_MAX:
                return None  # the larger problems are annealed
            chosen = "exact"
        elif path == "quantum":
            if chosen in CLASSICAL_PROVIDERS or chosen == RANDOM_PROVIDER:
                return None
            layers = sampling.layers
        return Sampled(
            path="classical" if path == "classical" else "quantum",
            sampler=chosen,
            layers=layers,
            shots=sampling.shots,
            problem=problem.kind,
            variables_max=problem.variables_max,
            weight_min=problem.weight_min,
        )
