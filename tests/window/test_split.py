"""A shard that is split in two gives what it gave, but for the ties between the halves."""

from collections import defaultdict

import networkx as nx
from hypothesis import given
from hypothesis import strategies as st

from enrichment.records import Problem
from tests.window.sketch import SIZE_MS, Event, Run, digest, pipeline, progress

ACCOUNTS = [f"{half}{number}" for half in "lr" for number in range(6)]
DEVICES = [f"d{number}" for number in range(8)]
EVENTS = st.lists(
    st.tuples(
        st.just(0),
        st.sampled_from(ACCOUNTS),
        st.sampled_from(DEVICES),
        st.just(""),
        st.integers(1, 99),
    ),
    min_size=1,
    max_size=30,
)


def problems(events: list[Event], shard: str = "s") -> dict[str, Problem]:
    """The problems of one window of these events, by subgraph."""
    if not events:
        return {}
    run = Run(pipeline())
    run.feed([(0, digest(events, shard=shard)), (1, progress(SIZE_MS))])
    [batch] = run.closed
    assert "cap" not in batch.left_out
    return {problem.subgraph: problem for problem in batch.problems}


@given(events=EVENTS)
def test_halves_lose_the_ties_between_them_and_nothing_else(events: list[Event]) -> None:
    """Problems that are not connected with a device used in both halves are the very same."""
    whole = problems(events)
    halves: dict[str, Problem] = {}
    for half in "lr":
        halves |= problems([event for event in events if event[1][0] == half], half)
    users = defaultdict(set)
    for _, account, device, *_ in events:
        users[device].add(account)
    across = {device for device, by in users.items() if len({each[0] for each in by}) == 2}
    lost = sum(
        1
        for device in across
        for one in users[device]
        for other in users[device]
        if one[0] == "l" and other[0] == "r"
    )
    graph = nx.Graph((account, device) for device, by in users.items() for account in by)
    touched = {
        name
        for part in nx.connected_components(graph)
        if not across.isdisjoint(part)
        for name in part
    }
    for found, others in ((whole, halves), (halves, whole)):
        for subgraph, problem in found.items():
            assert subgraph in others or touched.intersection(problem.nodes)
    if not lost:
        assert whole.keys() == halves.keys()
