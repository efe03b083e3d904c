"""Pinned requirements against installed versions."""

from pathlib import Path

import pytest

from enrichment.preflight import pins
from enrichment.preflight.pins import compared, installed

TEXT = """\
Redis[hiredis]==6.1 \\
    --hash=sha256:aa
typing_extensions==4.0 ; python_version < '3.12' \\
    --hash=sha256:bb
typing_extensions==4.1 ; python_version >= '3.12' \\
    --hash=sha256:cc
colorama==0.4 ; sys_platform == 'win32' \\
    --hash=sha256:dd
"""


def test_versions_are_compared_by_normal_names() -> None:
    """One of several pins is enough, and what is not installed here is not missed."""
    found = compared(TEXT, {"redis": "6.1", "typing-extensions": "4.1", "pip": "26", "rogue": "1"})
    assert (found.differing, found.unhashed, found.agreeing) == ({}, (), 2)
    assert found.unpinned == ("rogue",)


def test_another_version_is_told_with_what_was_pinned() -> None:
    """Each difference by itself."""
    found = compared(TEXT, {"redis": "6.2", "typing-extensions": "3.9"})
    assert found.differing == {
        "redis": "6.2, pinned 6.1",
        "typing-extensions": "3.9, pinned 4.0 or 4.1",
    }
    assert found.agreeing == 0


def test_a_pin_without_a_hash_is_seen() -> None:
    """Whoever serves the archive could serve another."""
    assert compared("redis==6.1\n" + TEXT, {}).unhashed == ("redis",)


def test_there_may_be_no_requirements(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An installed package has none beside it."""
    monkeypatch.chdir(tmp_path)
    assert pins.versions() is None


def test_this_environment_is_read() -> None:
    """By the names that pins have."""
    assert "redis" in installed()
    assert "confluent-kafka" in installed()
