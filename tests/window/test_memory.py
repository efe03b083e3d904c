"""A shard remembers who lies in which subgraph, and forgets nobody whom a change concerns."""

from enrichment.window.candidates import Candidate
from enrichment.window.classical import Placement
from enrichment.window.memory import Memory

A, B, C, DEVICE, NEW = range(5)


def test_who_is_left_behind_is_an_orphan() -> None:
    """When part of a subgraph gets another, the rest of it has none, its devices included."""
    memory = Memory()
    memory.place(dict.fromkeys((A, B, C, DEVICE), Placement(subgraph="one")), 5)
    assert memory.orphans({A: Placement(subgraph="two")}) == {B, C, DEVICE}
    assert memory.orphans({A: Placement(subgraph="one")}) == set()
    assert memory.orphans({NEW: Placement(subgraph="two")}) == set()


def test_mates_are_all_who_lie_in_the_same_subgraph() -> None:
    """Of an account or of a device; who lies in none has none."""
    memory = Memory()
    memory.place(dict.fromkeys((A, B, DEVICE), Placement(subgraph="one")), 5)
    memory.place({C: Placement()}, 5)
    assert memory.mates([A]) == memory.mates([DEVICE, C]) == {A, B, DEVICE}
    assert memory.mates([C, NEW]) == set()


def test_the_time_of_the_last_change_is_kept() -> None:
    """Placing an entity in the same subgraph again is no change of it, though it may be news."""
    memory = Memory()
    assert memory.place({A: Placement(subgraph="one")}, 5) == [A]
    assert memory.place({A: Placement(subgraph="one")}, 6) == []
    assert memory.place({A: Placement(subgraph="one", degree=3)}, 7) == [A]
    assert memory.since_ms[A] == 5
    memory.place({A: Placement()}, 8)
    assert (memory.since_ms[A], memory.subgraph(A)) == (8, "")


def test_solved_is_the_last_problem_of_each_entity() -> None:
    """A subgraph counts as solved only while it is the last one solved for all of its entities."""
    piece = Candidate(
        nodes=("a", "b", "c"),
        edges=((0, 1, 16), (1, 2, 16)),
        known_bad=(),
        subgraph="one",
        numbers=(A, B, C),
        shared={DEVICE: (0, 1)},
    )
    memory = Memory()
    memory.note_solved("one", [A, B, C, DEVICE])
    assert memory.solved(piece)
    memory.note_solved("two", [C, NEW])
    assert not memory.solved(piece)


def test_what_has_left_the_horizon_is_forgotten() -> None:
    """Nothing is kept of an entity that is forgotten."""
    memory = Memory()
    memory.place({A: Placement(subgraph="one")}, 5)
    memory.note_solved("one", [A, B, C], placed=True)
    memory.forget([A, B, C])
    assert memory.placed == {}
    assert not memory._subgraphs
    assert not memory._members
    assert not memory._solved
