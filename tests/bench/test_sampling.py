"""`bench sampling`: instances are the hashed ones, peers correct, figures what they say."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chisquare

from enrichment.circuit import scaled_angles
from enrichment.circuit.direct import final_state
from enrichment.circuit.marginals import ring_membership
from enrichment.lab.bench.catalogue import BenchError, BenchOptions
from enrichment.lab.bench.planted import planted_ring
from enrichment.lab.bench.report import Report, Row
from enrichment.lab.bench.rings import START_MS
from enrichment.lab.bench.sampling import coverage, instances, run, speed, statevector, tables
from enrichment.lab.bench.sampling.quality import SHOTS, figures_of, samplers
from enrichment.lab.bench.sampling.worker import measure, now_ms
from enrichment.lab.scenario import SimulationSettings
from enrichment.problem.ising import all_energies, energies, ising
from enrichment.provider import open_pool, open_provider
from tests.circuit.models import random_model
from tests.circuit.reference import distance, state

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_instances_are_the_hashed_ones() -> None:
    """The file's coefficients and members give the hash in the code, and other ones do not."""
    every = [each for size in instances.COUNTS for each in instances.instances(size)]
    assert instances.hash_of(every) == instances.INSTANCES_HASH
    assert instances.hash_of(every[1:]) != instances.INSTANCES_HASH
    for size, count in instances.COUNTS.items():
        assert len(instances.instances(size)) == count
    for each in every:
        assert instances.INSIDE_MIN <= len(each.members) <= each.size - instances.INSIDE_MIN
    assert len({ising_of(each) for each in every}) == len(every), "a model twice"


def ising_of(instance: instances.Instance) -> bytes:
    """What tells one model from another."""
    form = ising(instance.model())
    return form.h.tobytes() + form.couplings.tobytes()


def test_a_changed_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures of other instances are never taken for those of the fixed ones."""
    monkeypatch.setattr(instances, "INSTANCES_HASH", "0" * 32)
    instances.instances.cache_clear()
    with pytest.raises(ValueError, match="the instances' hash is"):
        instances.instances(6)
    instances.instances.cache_clear()


def test_a_cut_keeps_the_ring_and_who_is_tied_most() -> None:
    """Of four others the three that are tied most to what is there, one by way of another."""
    weights = ((0, 1, 16), (1, 2, 16), (0, 3, 2), (1, 4, 5), (4, 5, 9), (2, 6, 1))
    ring = [0, 1, 2]
    assert instances.cut(weights, ring, 8, 6) == [0, 1, 2, 3, 4, 5]
    assert instances.cut(weights, ring, 8, 8) == [0, 1, 2, 3, 4, 5, 6]  # the last is tied to nobody
    assert instances.cut(weights, ring, 8, 5) == [0, 1, 3, 4, 5]  # three others find room


def test_instances_come_of_streams() -> None:
    """A small stream gives problems with three members and three others at least."""
    settings = SimulationSettings(
        seed=1, seconds=40, rate_per_s=200, start_ms=START_MS, accounts=1_000, rings=8
    )
    found = list(instances.made(settings, (6,)))
    assert found
    for each in found:
        assert each.size == 6
        assert len(each.members) == 3
        assert {at for i, j, _ in each.weights for at in (i, j)} <= set(range(6))


@pytest.mark.parametrize("size", [1, 2, 5, 7, 8, 13])
def test_the_numpy_peer_prepares_the_circuits_state(size: int) -> None:
    """Its state is the independent statevector's to 1e-6, bit k of the index being variable k."""
    model = random_model(size, "BINARY", seed=size)
    angles = scaled_angles(model, 2)
    reversed_bits = np.arange(2**size).reshape((2,) * size).transpose().reshape(-1)
    peer = statevector.final_state(ising(model), *angles).astype(np.complex128)
    assert distance(peer[reversed_bits], state(model, *angles)) < 1e-6


def test_the_numpy_peers_samples_follow_its_state() -> None:
    """20,000 samples fit |psi|^2 by a chi-square test, column k being variable k."""
    form = ising(random_model(5, "SPIN", seed=4))
    psi = statevector.final_state(form, (0.4,), (0.3,))
    bits = statevector.sample(form, (0.4,), (0.3,), 20_000, np.random.default_rng(3))
    counts = np.bincount(bits @ (1 << np.arange(5)), minlength=32)
    wanted = np.abs(psi.astype(np.complex128)) ** 2
    assert chisquare(counts, wanted / wanted.sum() * len(bits)).pvalue > 1e-3


def test_every_path_samples_the_same_problem() -> None:
    """All paths' mean energies agree, but for annealing's, which is lower; all bits are shots."""
    instance = instances.instances(8)[0]
    model = instance.model()
    form = ising(model)
    means = {}
    for name, path in speed.PATHS.items():
        bits = np.concatenate([path(model, form, seed) for seed in range(4)])
        assert bits.shape == (4 * speed.SHOTS, 8)
        means[name] = float(energies(form, bits).mean())
    annealed = means.pop(speed.ANNEALING)
    spread = float(all_energies(form).std())
    for name, mean in means.items():
        assert mean == pytest.approx(means[speed.DIRECT], abs=0.1 * spread), name
        assert annealed < mean


def limit(strings: np.ndarray, energy: Sequence[float], chance: Sequence[float]) -> np.ndarray:
    """The best fifth's mean the slow way: level by level."""
    left, total = 0.2, np.zeros(strings.shape[1])
    levels = sorted({round(float(each), 9) for each in energy})
    for level in levels:
        here = [k for k, each in enumerate(energy) if round(float(each), 9) == level]
        weight = sum(chance[k] for k in here)
        share = min(left, weight)
        total += share * sum(chance[k] * strings[k] for k in here) / weight
        left -= share
        if left <= 1e-15:
            break
    return np.asarray(total / 0.2)


def test_the_limit_membership_is_what_many_shots_tend_to() -> None:
    """It equals a sum level by level, and 200,000 shots come to it within four standard errors."""
    size = 6
    form = ising(planted_ring(size, 5))
    psi = final_state(form, (0.5,), (0.4,))
    chance = coverage.chances(form, psi)
    found = coverage.limit_membership(form, chance)
    strings = np.array([row[::-1] for row in product((0, 1), repeat=size)], dtype=np.uint8)
    listed = all_energies(form)
    assert energies(form, strings) == pytest.approx(listed)
    assert found == pytest.approx(limit(strings, listed.tolist(), chance.tolist()))
    drawn = np.random.default_rng(1).choice(2**size, 200_000, p=chance)
    shown = ring_membership(strings[drawn], listed[drawn])
    assert np.abs(shown - found).max() < 4 * 0.5 / np.sqrt(40_000)


def test_quality_tells_good_samplers_from_none() -> None:
    """Gibbs samples and annealing are near the minimum, random strings at the mean of all."""
    figures = figures_of(8, 4, run=0, reads=200)
    assert set(figures) == set(samplers(200))
    assert figures["annealing"]["ratio"].mean() > 0.9
    assert abs(figures["random"]["ratio"].mean()) < 0.1
    assert figures["QAOA p=1"]["ratio"].mean() < figures["QAOA p=3"]["ratio"].mean()
    assert figures["annealing"]["optimum_found"].tolist() == [1.0] * 4
    assert SHOTS == 1_000


def test_the_worker_is_run_to_its_features() -> None:
    """Two micro-batches come out as features of every account, in CPU time of both processes."""
    pool = open_pool(workers=1)
    try:
        provider = open_provider("qsim", pool, now_ms=now_ms)
        measured = measure(provider, pool, 32)
    finally:
        pool.close()
    assert measured.problems == 32
    assert 0.0 < measured.child_s < measured.cpu_s


def test_an_unknown_case_is_refused() -> None:
    """Before anything is measured, with the names there are."""
    options = BenchOptions(
        events=None, runs=1, quick=True, pairs=1, cases=("meteorite",), state_dir=Path(),
        topics_dir=Path(), say=lambda _: None,
    )  # fmt: skip
    with pytest.raises(BenchError, match="no case meteorite: speed"):
        run.run(options)


def test_a_table_is_put_between_its_marks_and_nowhere_else(tmp_path: Path) -> None:
    """What stood between the marks goes, all else stays; a table without rows stays as it was."""
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- table sampling memory -->\nold\n<!-- end -->\nbetween\n"
        "<!-- table sampling coverage -->\nkept\n<!-- end -->\nafter\n"
    )
    rows = [
        Row.of("memory", who, metric, [value], "MiB")
        for who in ("parent", "child")
        for metric, value in (("resident_after_10", 80.0), ("growth", 0.25))
    ]
    report = Report(name="sampling", machine={}, rows=tuple(rows))
    assert tables.put(report, page) == ["memory"]
    text = page.read_text()
    assert "| parent | 80.0 | 0.2 |" in text
    assert "old" not in text
    assert "kept" in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert tables.put(report, page) == ["memory"]
    assert page.read_text() == text


@pytest.mark.parametrize("name", ["sampling", "noise"])
def test_the_docs_show_the_stored_reports(name: str, tmp_path: Path) -> None:
    """Each table of the page is the one that the stored report gives, and all of them are there."""
    report = Report.read(DOCS / "reports" / f"{name}.json")
    page = tmp_path / "sampling.md"
    text = (DOCS / "sampling.md").read_text()
    page.write_text(text)
    assert set(tables.put(report, page)) == {table for of, table in tables.TABLES if of == name}
    assert page.read_text() == text, "run `enrichment bench NAME --stored ... --page ...`"
