"""Who belongs together in a recording, so that no fold is judged by rings that it was fitted on."""

from typing import Final

import networkx as nx
import numpy as np

from enrichment.lab.recorded import Recording, RecordingError
from enrichment.pipelines import Pipeline
from enrichment.pipelines.definition import LinkDefinition
from enrichment.rollout.metrics import Floats, Ints

PAIRS_MAX: Final = 30_000_000  # half a GB of pairs; degree_max keeps streams of ours far below


def groups_of(pipeline: Pipeline, recording: Recording) -> Ints:
    """The group of each event: a component of tied nodes. The node alone where nobody is tied.

    Nodes are tied as the window stage ties them (docs/decisions/ties.md), over the whole recording
    and without fading: an attribute of degree d adds its link's weight / sqrt(d - 1), hubs above
    `degree_max` add nothing, and what stays below `weight_min` is no tie. Direct links tie nobody
    here: in a graph of ratings everybody is joined to everybody in the end. Raises RecordingError.
    """
    node = node_role(pipeline)
    numbers = recording.entities[node]
    nodes = int(numbers.max(initial=-1)) + 1
    pairs = [_tied(recording, link) for link in pipeline.links if not link.direct]
    none = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    codes = np.concatenate([one * nodes + other for one, other, _ in (none, *pairs)])
    weights = np.concatenate([weight for _, _, weight in (none, *pairs)])
    distinct, inverse = np.unique(codes, return_inverse=True)
    strength = np.bincount(inverse, weights, minlength=len(distinct))
    edges = distinct[strength >= pipeline.problem.weight_min]
    graph = nx.Graph(zip(*(each.tolist() for each in np.divmod(edges, max(nodes, 1))), strict=True))
    component = np.arange(nodes)
    for members in nx.connected_components(graph):
        component[list(members)] = min(members)
    # An event without a node is a group of its own.
    alone = np.arange(len(numbers)) + nodes
    return np.where(numbers >= 0, component[numbers], alone)


def node_role(pipeline: Pipeline) -> str:
    """The role of a problem's nodes: where links start, else the stream's first entity."""
    return pipeline.links[0].roles[0] if pipeline.links else next(iter(pipeline.entities))


def _tied(recording: Recording, link: LinkDefinition) -> tuple[Ints, Ints, Floats]:
    """Pairs of nodes that share an attribute of the link, the smaller first, and what it adds."""
    node, via = (recording.entities[role] for role in link.roles)
    seen = (node >= 0) & (via >= 0)
    nodes = int(node.max(initial=-1)) + 1
    attributes, nodes_of = np.divmod(np.unique(via[seen] * nodes + node[seen]), max(nodes, 1))
    _, starts, degrees = np.unique(attributes, return_index=True, return_counts=True)
    firsts, seconds, weights = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0)]
    wanted = (degrees >= 2) & (degrees <= link.degree_max)
    if int((degrees[wanted] * (degrees[wanted] - 1) // 2).sum()) > PAIRS_MAX:
        said = f"more than {PAIRS_MAX:,} pairs share a {link.roles[1]}"
        raise RecordingError(f"{said}: lower degree_max of that link, or cut the recording")
    for degree in np.unique(degrees[wanted]).tolist():
        # All attributes of one degree at once: a row of members for each, and every two columns.
        at = starts[degrees == degree]
        members = nodes_of[at[:, None] + np.arange(degree)]
        one, other = np.triu_indices(degree, 1)
        firsts.append(members[:, one].ravel())
        seconds.append(members[:, other].ravel())
        weights.append(np.full(firsts[-1].shape, link.weight / np.sqrt(degree - 1)))
    return np.concatenate(firsts), np.concatenate(seconds), np.concatenate(weights)
