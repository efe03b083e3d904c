"""What the wiring does by itself."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from enrichment.wiring import GC_OBJECTS, collect_young


class Node:
    """Something that may refer to itself."""

    def __init__(self) -> None:
        self.itself: Node | None = None


@pytest.fixture
def disabled() -> Iterator[None]:
    """The collector as the hot path has it."""
    gc.collect()
    gc.disable()
    yield
    gc.unfreeze()
    gc.enable()


@pytest.mark.usefixtures("disabled")
def test_new_cycles_are_found_and_what_is_kept_is_not_looked_at_again() -> None:
    """A cycle that was dropped is gone once enough has been made; all that lives is frozen."""
    dropped = Node()
    dropped.itself = dropped
    gone = weakref.ref(dropped)
    del dropped
    collect_young()
    assert gone() is not None  # too little has been made to look through it
    kept = [Node() for _ in range(GC_OBJECTS + 1)]
    before = gc.get_freeze_count()
    collect_young()
    assert gone() is None
    assert gc.get_freeze_count() >= before + len(kept)
    assert gc.get_count()[0] < GC_OBJECTS
