"""Models for the circuit's tests: random ones with fields, and cuts of named graphs."""

import dimod
import networkx as nx
import numpy as np


def random_model(
    size: int, vartype: str, seed: int, density: float = 0.8
) -> dimod.BinaryQuadraticModel:
    """Return a model with fields, some couplings absent, an offset, and unsorted labels."""
    random = np.random.default_rng(seed)
    labels = [f"v{(7 * k) % 23}" for k in range(size)]
    model = dimod.BinaryQuadraticModel(vartype)
    for k, label in enumerate(labels):
        model.add_linear(label, 0.0 if k == 1 else float(random.normal()))
    for j in range(size):
        for i in range(j):
            if random.random() < density:
                model.add_quadratic(labels[j], labels[i], float(random.normal()))
    model.offset = float(random.normal())
    return model


def minus_cut(graph: nx.Graph) -> dimod.BinaryQuadraticModel:
    """Return E = -cut of a graph: sum over edges of (s t - 1) / 2."""
    model = dimod.BinaryQuadraticModel(dimod.SPIN)
    for node in graph.nodes:
        model.add_variable(node)
    for one, two in graph.edges:
        model.add_quadratic(one, two, 0.5)
        model.offset -= 0.5
    return model
