"""How far memberships move from draw to draw, on samples of this process."""

from dataclasses import replace

import pytest

from enrichment.lineage.spread import spreads
from enrichment.sample.again import as_it_was, requests_again
from enrichment.sample.estimate import Answers, answers_of, memberships, seed_of
from tests.sample.recordings import DONE_MS, pipeline_of, recorded_of, solved


def draw(number: int) -> Answers:
    """The job of three problems with the seeds of that number."""
    recorded = recorded_of()
    assert recorded.batch is not None
    (request,) = requests_again(recorded, as_it_was(recorded, pipeline_of()), DONE_MS)
    seeds = tuple(seed_of(f"repeat|{number}", one.problem_id) for one in recorded.batch.problems)
    return answers_of(solved(replace(request, seeds=seeds), "qsim"))


def test_a_deviation_is_of_each_path_and_problem_and_none_between_equal_draws() -> None:
    """Three paths of three problems; other seeds move random strings, and the same ones nothing."""
    recorded = recorded_of()
    assert recorded.batch is not None
    problems = recorded.batch.problems
    found = spreads(problems, [draw(1), draw(2), draw(3)])
    assert {(one.problem_id, one.path) for one in found} == {
        (problem.problem_id, path)
        for problem in problems
        for path in ("quantum", "classical", "random")
    }
    for one in found:
        assert 0 <= one.mean <= one.max < 0.5
        assert one.mean > 0 or one.path != "random"
    first, second = (memberships(0, draw(n))["random"] for n in (1, 2))
    two = next(o for o in spreads(problems, [draw(1), draw(2)]) if o.path == "random")
    # Of two values the sample standard deviation is their distance by the root of two.
    wanted = [abs(a - b) / 2**0.5 for a, b in zip(first, second, strict=True)]
    assert two.mean == pytest.approx(sum(wanted) / len(wanted))
    assert two.max == pytest.approx(max(wanted))
    assert {one.max for one in spreads(problems, [draw(1), draw(1)])} == {0.0}
    with pytest.raises(ValueError, match="1 draws"):
        spreads(problems, [draw(1)])
