"""Classical features are what networkx, or counting by hand, gives for the same graph."""

import itertools

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrichment.records import Outcome, OutcomeKind
from enrichment.window.candidates import candidate, pieces
from enrichment.window.classical import DAMPING, Placement, place_accounts, values, vicinity
from enrichment.window.entities import Entity
from enrichment.window.horizon import Horizon
from enrichment.window.known_bad import KnownBad
from enrichment.window.limits import Limits
from enrichment.window.neighbourhood import explore
from enrichment.window.span import span_name
from tests.window import sketch
from tests.window.sketch import SIZE_MS, Event, content, horizon, numbers, pipeline

nx.pagerank(nx.path_graph(2))  # loads scipy, which takes longer than hypothesis gives a test
LIMITS = Limits.of(pipeline())
ACCOUNTS = [f"a{number}" for number in range(9)]
EVENTS = st.lists(
    st.tuples(
        st.integers(0, 9),
        st.sampled_from(ACCOUNTS),
        st.sampled_from([f"d{number}" for number in range(7)]),
        st.just(""),
        st.integers(0, 10_000),
    ),
    min_size=1,
    max_size=25,
)


def outcome(
    id_: str,
    kind: OutcomeKind = OutcomeKind.CONFIRMED_FRAUD,
    *,
    at_ms: int = 0,
    entity: str = "account",
    event: str = "e",
) -> Outcome:
    """Something that became known."""
    return Outcome(
        outcome_id="o",
        event_id=event,
        entity=entity,
        id=id_,
        shard="s",
        kind=kind,
        decided_at_ms=at_ms,
    )


@given(events=EVENTS, bad=st.sets(st.sampled_from(ACCOUNTS), max_size=2))
def test_features_agree_with_networkx(events: list[Event], bad: set[str]) -> None:
    """Core numbers, triangles, density, degree and distance, on random sharing of devices."""
    built = horizon(events, now_ms=10)
    known_bad = KnownBad()
    for account in bad:
        known_bad.add(outcome(account))
    found = explore(built, numbers(built, ACCOUNTS), (), LIMITS)
    near = vicinity(built, found, known_bad, 10, LIMITS)
    whole = nx.Graph()
    users: dict[str, set[str]] = {}
    for _, account, device in sketch.ties(built):
        whole.add_node(account)
        users.setdefault(device, set()).add(account)
    for members in users.values():
        if 2 <= len(members) <= LIMITS.degree_max["device"]:
            whole.add_edges_from(itertools.combinations(members, 2))
    lone = {built.entities.named[number].id for number in found.lone}
    assert lone == set(nx.isolates(whole))
    sources = bad & set(whole)
    distances = nx.multi_source_dijkstra_path_length(whole, sources) if sources else {}
    ranks = ranks_of_networkx(found.weights, set(distances), sources)
    placed = dict[str, Placement]()
    for piece in pieces(built, found, LIMITS.variables_max)[0]:
        one = candidate(built, found, piece, bad, LIMITS)
        inner = whole.subgraph(piece)
        cores, triangles = nx.core_number(inner), nx.triangles(inner)
        pairs = list(itertools.combinations(piece, 2))
        mass = sum(found.weights[a].get(b, 0) for a, b in pairs) / 16
        for number, placement in place_accounts(one, found, near).items():
            account = built.entities.named[number].id
            placed[account] = placement
            near_bad = 1 / (1 + distances[account]) if account in distances else 0.0
            assert placement[:3] == (one.subgraph, whole.degree(account), len(piece))
            assert placement.density == pytest.approx(mass / len(pairs) if pairs else 0.0)
            assert placement.core_number == cores[account]
            assert placement.triangles == triangles[account]
            assert placement.known_bad_near == pytest.approx(near_bad)
            assert placement.bad_rank == pytest.approx(ranks.get(account, 0.0), abs=2e-6)
    assert placed.keys() | lone == set(whole)
    for account in lone:
        assert near.near(account) == float(account in bad)


def ranks_of_networkx(
    weights: dict[str, dict[str, int]], reached: set[str], bad: set[str]
) -> dict[str, float]:
    """Personalised PageRank as networkx has it."""
    if not bad:
        return {}
    graph = nx.Graph()
    graph.add_nodes_from(reached)
    graph.add_weighted_edges_from(
        (one, other, w) for one in reached for other, w in weights.get(one, {}).items()
    )
    start = {account: 1 / len(bad) for account in bad}
    ranks: dict[str, float] = nx.pagerank(
        graph, alpha=DAMPING, personalization=start, dangling=start, tol=1e-10, max_iter=1_000
    )
    return ranks


def features(
    built: Horizon, id_: str, kind: str = "account", *, velocity: int = 0, scale: int = 1
) -> dict[str, float]:
    """The features of one entity; none of one that the horizon has never seen."""
    found = numbers(built, [id_], kind)
    placed = dict.fromkeys(found, Placement())
    return next(values(built, found, placed, dict.fromkeys(found, velocity), scale), {})


SPANS = st.lists(
    st.tuples(
        st.integers(0, 399),
        st.sampled_from("abc"),
        st.sampled_from("de"),
        st.just(""),
        st.integers(0, 10_000),
    ),
    min_size=1,
    max_size=25,
)


@given(events=SPANS, steps_ms=st.lists(st.integers(0, 90), max_size=6), evicted=st.booleans())
def test_spans_agree_with_counting(
    events: list[Event], steps_ms: list[int], *, evicted: bool
) -> None:
    """Events and amount of a span are those of the windows that end within it, at any time.

    Late events too; and what a bound evicts is in no span either.
    """
    bounds = {"nodes_max": 3} if evicted else {}
    built = Horizon(pipeline(spans_ms=[SIZE_MS, 100]), **bounds)
    folded: list[Event] = []
    now_ms = 0
    for number, event in enumerate(events):
        built.fold(content([event]), number)
        folded = [e for e in (*folded, event) if e[0] // SIZE_MS * SIZE_MS in built.slice_starts()]
        if steps_ms:
            now_ms += steps_ms.pop()
            built.advance(now_ms)
        for span in built.spans:
            kept = [
                event
                for event in folded
                if event[0] // SIZE_MS * SIZE_MS + SIZE_MS + span.span_ms > built.now_ms
            ]
            for account in "abc":
                own = [event for event in kept if event[1] == account]
                found = features(built, account)
                if not found:
                    assert own == []
                    continue
                assert found[span.events_name] == len(own)
                assert found[span.amount_name] == sum(event[4] for event in own)


@pytest.mark.parametrize(
    ("span_ms", "name"),
    [(60_000, "1m"), (90_000, "90s"), (86_400_000, "1d"), (7_200_000, "2h"), (100, "100ms")],
)
def test_a_span_is_named_by_its_largest_unit(span_ms: int, name: str) -> None:
    """As feature names have it."""
    assert span_name(span_ms) == name


@given(events=EVENTS)
def test_tallies_and_aggregates_agree_with_counting(events: list[Event]) -> None:
    """Events, amount, and the mean and count of an aggregate, by counting the events."""
    built = horizon(events, now_ms=10)
    for account in {event[1] for event in events}:
        own = [event for event in events if event[1] == account]
        found = features(built, account, velocity=3, scale=100)
        assert found["events"] == found["paid_count"] == len(own)
        assert found["amount"] == pytest.approx(sum(event[4] for event in own) / 100)
        assert found["paid_mean"] == pytest.approx(sum(e[4] for e in own) / 100 / len(own))
        assert found["velocity_short"] == 3
    device = features(built, events[0][2], "device", scale=100)
    assert device["risk_count"] == 0
    assert "risk_mean" not in device  # all too young
    assert "triangles" not in device


def test_a_known_bad_device_is_one_step_from_its_accounts() -> None:
    """An attribute that is itself confirmed bad counts for those who use it."""
    built = horizon([(0, "a", "d", "", 1), (0, "b", "e", "", 1), (0, "a", "e", "", 1)], now_ms=10)
    known_bad = KnownBad()
    known_bad.add(outcome("d", entity="device"))
    found = explore(built, numbers(built, ["a"]), (), LIMITS)
    near = vicinity(built, found, known_bad, 10, LIMITS)
    assert near.near("a") == 1 / 2
    assert near.near("b") == 1 / 3
    first, second = numbers(built, ["d", "e"], "device")
    assert near.near_attribute(first, numbers(built, ["a"])) == 1
    assert near.near_attribute(second, numbers(built, ["a", "b"])) == 1 / 3


def test_nothing_is_known_before_it_was_decided() -> None:
    """An outcome counts after its decision only; clearing the same event takes it back."""
    known_bad = KnownBad()
    account = Entity("account", "a")
    known_bad.add(outcome("a", at_ms=10))
    known_bad.add(outcome("a", OutcomeKind.ANALYST_CLEARED, at_ms=20))
    assert [known_bad.flagged(account, at_ms) for at_ms in (10, 11, 20, 21)] == [
        False, True, True, False,
    ]  # fmt: skip
    known_bad.add(outcome("a", OutcomeKind.ANALYST_FRAUD, at_ms=30, event="another"))
    known_bad.add(outcome("a", OutcomeKind.CLEARED, at_ms=40))
    assert known_bad.flagged(account, 50)


def test_the_known_bad_are_bounded() -> None:
    """Who was heard of least lately is forgotten first."""
    known_bad = KnownBad(entities_max=2)
    for id_ in ("a", "b", "a", "c"):
        known_bad.add(outcome(id_))
    assert [known_bad.flagged(Entity("account", id_), 1) for id_ in "abc"] == [True, False, True]
