"""Calls as they are checked: what is taken is a model; of what is not, the place is told."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enrichment.console.calls import (
    ACCEPTED,
    Call,
    CallBook,
    CallEdge,
    CallError,
    CallProblem,
    Rules,
    batch_of,
    shard_of,
)
from enrichment.problem import KINDS
from enrichment.records import Cause
from enrichment.records.micro_batch import subgraph_hash, version_of
from tests.console.desks import CALLS, job

RULES: Final = Rules.of(CALLS)
NOW_MS: Final = 1_700_000_000_000
RING: Final[dict[str, Any]] = {
    "nodes": ["a", "b", "c"],
    "edges": [[0, 1, 0.5], [1, 2, 1.0], [0, 2, 0.25]],
    "known_bad": [2],
    "amount": 12.5,
}


def called(*problems: dict[str, Any]) -> Call:
    """A call of these problems, as its JSON is decoded."""
    return msgspec.convert({"problems": list(problems)}, Call)


@st.composite
def valid(draw: st.DrawFn) -> Call:
    """Any call that keeps to the rules."""
    texts = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=9)
    names = draw(st.lists(texts, min_size=3, max_size=36, unique=True))
    problems = []
    while len(names) >= 3:
        count = draw(st.integers(3, min(len(names), RULES.variables_max)))
        nodes, names = names[:count], names[count:]
        pairs = [(i, j) for i in range(count) for j in range(i)]
        tied = draw(st.lists(st.sampled_from(pairs), min_size=1, unique=True))
        weights = st.floats(1 / 16, 1)
        problems.append(
            CallProblem(
                nodes=tuple(nodes),
                edges=tuple(CallEdge(i, j, draw(weights)) for i, j in tied),
                known_bad=tuple(draw(st.sets(st.integers(0, count - 1)))),
                amount=draw(st.floats(0, 1e9)),
            )
        )
    return Call(problems=tuple(problems))


@given(valid(), st.randoms())
def test_what_is_taken_is_a_model_of_each_problem_however_its_edges_are_written(
    call: Call, random: Any
) -> None:
    """The problem's own rules hold; order and direction of edges change no hash."""
    batch = batch_of(call, RULES, shard_of("k"), NOW_MS)
    assert (batch.cause, batch.micro_batch_id) == (Cause.CALL, f"calls|{shard_of('k')}|0|0")
    for problem in batch.problems:
        flags = [int(place in problem.known_bad) for place in range(len(problem.nodes))]
        KINDS[CALLS.problem.kind](problem.nodes, problem.weights, flags)
        known = (problem.nodes, problem.weights, problem.known_bad)
        assert problem.subgraph == subgraph_hash(*known)
    turned = []
    for one in call.problems:
        edges = [
            CallEdge(edge.j, edge.i, edge.weight) if random.random() < 0.5 else edge
            for edge in one.edges
        ]
        random.shuffle(edges)
        turned.append(msgspec.structs.replace(one, edges=tuple(edges)))
    again = batch_of(Call(problems=tuple(turned)), RULES, shard_of("k"), NOW_MS + 5)
    assert again.content_hash == batch.content_hash
    assert [one.subgraph for one in again.problems] == [one.subgraph for one in batch.problems]


Broken = Callable[[CallProblem], CallProblem]


def _edges(*more: tuple[int, int, float]) -> Broken:
    added = tuple(CallEdge(*edge) for edge in more)
    return lambda one: msgspec.structs.replace(one, edges=(*one.edges, *added))


BROKEN: Final[dict[str, Broken]] = {
    "nodes": lambda one: msgspec.structs.replace(one, nodes=(*one.nodes, one.nodes[0])),
    "edges": lambda one: msgspec.structs.replace(one, edges=()),
    "edges nowhere": _edges((0, 99, 0.5)),
    "edges before": _edges((-1, 0, 0.5)),
    "edges loop": _edges((1, 1, 0.5)),
    "edges weightless": _edges((0, 1, 0.0)),
    "edges negative": _edges((0, 1, -0.5)),
    "edges heavy": _edges((0, 1, 1.01)),
    "edges infinite": _edges((0, 1, float("inf"))),
    "edges undefined": _edges((0, 1, float("nan"))),
    "edges faint": _edges((0, 1, 0.03)),
    "known_bad": lambda one: msgspec.structs.replace(one, known_bad=(99,)),
    "amount negative": lambda one: msgspec.structs.replace(one, amount=-0.01),
    "amount infinite": lambda one: msgspec.structs.replace(one, amount=float("inf")),
}


@pytest.mark.parametrize("how", sorted(BROKEN))
@settings(max_examples=20)
@given(valid(), st.data())
def test_what_is_broken_is_refused_and_the_place_is_named(
    how: str, call: Call, data: st.DataObject
) -> None:
    """One thing wrong with any problem of any call: the error names that problem and field."""
    number = data.draw(st.integers(0, len(call.problems) - 1))
    problems = list(call.problems)
    problems[number] = BROKEN[how](problems[number])
    with pytest.raises(CallError, match=rf"^problems\[{number}\]\.{how.partition(' ')[0]}"):
        batch_of(Call(problems=tuple(problems)), RULES, shard_of("k"), NOW_MS)


@pytest.mark.parametrize(
    ("problems", "said"),
    [
        ((), "problems: wanted 1 to 64, found 0"),
        (tuple(RING | {"nodes": [f"{n}{i}" for i in range(3)]} for n in range(65)), "found 65"),
        ((RING | {"nodes": ["a", "b"]},), r"problems\[0\].nodes: wanted 3 to 12, found 2"),
        ((RING | {"nodes": [f"n{n}" for n in range(13)]},), "wanted 3 to 12, found 13"),
        ((RING | {"nodes": ["a", "b", "a"]},), r"\[0\].nodes\[2\]: 'a' is nodes\[0\] already$"),
        ((RING | {"edges": [[0, 1, 0.03]]},), r"edges\[0\]: 0.03 rounds to no sixteenth"),
        ((RING, RING | {"nodes": ["x", "c", "y"]}), r"\[1\].nodes\[1\]: 'c' is problems\[0\].n"),
        ((RING | {"edges": [[0, 1, 0.5], [1, 0, 0.5]]},), r"edges\[1\]: nodes 0 and 1 are tied"),
    ],
)
def test_bounds_and_what_only_all_of_it_shows(problems: Any, said: str) -> None:
    """How many problems and nodes, a node in two problems, a pair that is tied twice."""
    with pytest.raises(CallError, match=said):
        batch_of(called(*problems), RULES, shard_of("k"), NOW_MS)


def test_a_micro_batch_says_what_was_called() -> None:
    """Weights in sixteenths, the amount in minor units, times of when it was accepted."""
    batch = batch_of(called(RING), RULES, shard_of("k"), NOW_MS)
    [problem] = batch.problems
    assert problem.weights == ((0, 1, 8), (0, 2, 4), (1, 2, 16))
    assert (problem.entity, problem.known_bad, problem.amount_minor) == ("account", (2,), 1_250)
    assert (batch.window_end_ms, problem.first_seen_ms) == (NOW_MS, NOW_MS)
    # All calls are of one version: of two values of a node the one computed later stands.
    assert batch.version == version_of(batch.micro_batch_id) == 0


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_key_is_one_job_and_names_nothing(one: str, other: str) -> None:
    """Equal keys, equal shards; whatever a key holds, the id keeps its parts and its length."""
    assert (shard_of(one) == shard_of(other)) == (one == other)
    assert len(shard_of(one)) == 34
    assert "|" not in shard_of(one)


@pytest.mark.parametrize(
    "change",
    [
        {"nodes": ["a", "c", "b"]},
        {"edges": [[0, 1, 0.5], [1, 2, 1.0], [0, 2, 0.3125]]},
        {"known_bad": []},
        {"amount": 12.51},
    ],
)
def test_another_content_has_another_hash(change: dict[str, Any]) -> None:
    """Nodes, weights, flags and amount all count."""
    one = batch_of(called(RING), RULES, shard_of("k"), NOW_MS)
    other = batch_of(called(RING | change), RULES, shard_of("k"), NOW_MS)
    assert one.content_hash != other.content_hash


def test_the_book_remembers_what_the_ledger_has_not_shown() -> None:
    """A call is accepted once it is delivered; what the ledger has makes room, the rest stays."""
    book = CallBook(kept=2)
    batches = [batch_of(called(RING), RULES, shard_of(f"k{n}"), NOW_MS) for n in range(3)]
    ids = [batch.micro_batch_id for batch in batches]
    for batch in batches[:2]:
        assert book.row(batch.micro_batch_id) is None
        book.add(batch).delivered = True
    row = book.row(ids[0])
    assert row is not None
    assert (row.state, row.problems) == (ACCEPTED, 1)
    rows = {ids[1]: job(ids[1], state="executing"), "other": job("other")}
    assert book.waiting(rows, lambda one: one.state == "succeeded") == 2
    assert book.waiting({}, lambda _: True) == 1  # the ledger may drop what it had
    book.add(batches[2])
    assert [book.get(id_) is not None for id_ in ids] == [True, False, True]
