"""An entity keeps its number while anything holds it, and alone until it is released."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from enrichment.window.entities import SIZE_MIN, Entities, Entity

NAMES = st.tuples(st.sampled_from(["account", "device"]), st.sampled_from("abcde"))
STEPS = st.lists(st.tuples(st.sampled_from(["ask", "hold", "drop", "release"]), NAMES), max_size=60)


@given(steps=STEPS)
def test_a_number_is_one_entitys_until_it_is_released(
    steps: list[tuple[str, tuple[str, str]]],
) -> None:
    """However entities come, are held, dropped and released: what has a number keeps it alone."""
    entities = Entities("account")
    known: dict[Entity, int] = {}
    holds: dict[Entity, int] = {}
    for what, name in steps:
        entity = Entity(*name)
        if what in {"ask", "hold"}:
            number = int(entities.numbers(entity.kind, [entity.id])[0])
            assert known.setdefault(entity, number) == number
        if what == "hold":
            entities.hold(np.array([known[entity]]))
            holds[entity] = holds.get(entity, 0) + 1
        if what == "drop" and holds.get(entity):
            entities.drop(np.array([known[entity]]))
            holds[entity] -= 1
        if what == "release" and entity in known:
            released = entities.release([known[entity]])
            assert bool(released) == (not holds.get(entity))
            if released:
                del known[entity]
        assert len(set(known.values())) == len(known)
        for one, number in known.items():
            assert entities.find(*one) == number
            assert entities.named[number] == one
            assert entities.is_node[number] == (one.kind == "account")
            assert entities.held(number) == bool(holds.get(one))
        assert len(entities) <= 10  # numbers are used again


def test_there_is_room_for_more_than_at_first() -> None:
    """Columns grow, and what is in them stays."""
    entities = Entities("account")
    numbers = entities.numbers("account", [str(n) for n in range(3 * SIZE_MIN)])
    entities.hold(numbers[:1])
    others = entities.numbers("device", [str(n) for n in range(3 * SIZE_MIN)])
    assert not set(numbers.tolist()) & set(others.tolist())
    assert entities.held(int(numbers[0]))
    assert not entities.held(int(others[-1]))
