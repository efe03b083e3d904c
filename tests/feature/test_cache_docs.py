"""What docs/feature-cache.md promises is what the tests run with."""

from pathlib import Path

from enrichment.access import REDIS, redis_rules
from enrichment.feature.store import Layout

PAGE = Path(__file__).resolve().parents[2] / "docs" / "feature-cache.md"


def test_the_rules_of_each_role_are_those_of_the_tests() -> None:
    """Word for word, as the table writes them, and as `enrichment access redis` prints them."""
    text = PAGE.read_text(encoding="utf-8")
    for role in REDIS:
        rules = redis_rules(role, "payments")
        assert f"| `{role}` | `{rules.replace('|', chr(92) + '|')}` |" in text


def test_the_keys_are_those_of_the_layout() -> None:
    """On one server and on a cluster."""
    text = PAGE.read_text(encoding="utf-8")
    one, cluster = Layout("payments"), Layout("payments", cluster=True)
    for key in (
        one.feature("account", "42", "ring"),
        cluster.feature("account", "42", "ring"),
        one.feature("shard", "eu", "graph"),
        one.partitions(),
        one.projection(3),
        one.control(),
    ):
        assert f"`{key}`" in text
