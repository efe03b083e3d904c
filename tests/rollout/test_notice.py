"""Files and settings that have changed are found at a start, and recorded once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from enrichment.lab.servers import LocalServers
from enrichment.records import ChangeKind
from enrichment.rollout.notice import Content, Finder, notice, unlike
from enrichment.stream.changes import recorded
from enrichment.stream.framing import BARE
from enrichment.wiring.clock import now_ms
from tests.integration.stages import Stream
from tests.rollout.test_changes import change


def finder(pipeline: str = "payments", **files: str) -> Finder:
    """What a stage with these files looks at."""
    contents = [
        Content(kind=ChangeKind.PIPELINE, subject=name, text=text) for name, text in files.items()
    ]
    return Finder(pipeline=pipeline, stage="enrich", contents=contents)


def test_only_what_is_not_as_it_was_is_a_change() -> None:
    """Of this pipeline and these kinds; what is there no more has no after."""

    def file(subject: str, after: str, **fields: Any) -> Any:
        return change(subject, after, kind=ChangeKind.PIPELINE, **fields)

    recorded_before = [
        file("a", "1"),
        file("a", "2"),
        file("gone", "x"),
        file("b", "of another", pipeline="cards"),
        change("serve", "{}"),
    ]
    assert unlike(finder(a="2", gone="x"), recorded_before) == []
    found = unlike(finder(a="1", b="new"), recorded_before)
    assert {one.subject: (one.before, one.after) for one in found} == {
        "gone": ("x", ""),
        "a": ("2", "1"),
        "b": ("", "new"),
    }
    assert {one.reason for one in found} == {"found at the start of enrich"}


@pytest.mark.servers
def test_stages_that_start_at_once_record_it_once(servers: LocalServers, tmp_path: Path) -> None:
    """Whoever begins ends the others, and those that come again find it recorded."""
    stream = Stream(
        tmp_path, like="payments", bootstrap=servers.bootstrap, redis_url=servers.redis_url
    )
    kafka = {"bootstrap.servers": servers.bootstrap}
    for text in ("one", "two"):
        found = finder(stream.name, a=text)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _, f=found: notice(kafka, f, BARE, now_ms), range(4)))
    own = [one for one in recorded(kafka).changes if one.pipeline == stream.name]
    assert [(one.subject, one.before, one.after) for one in own] == [
        ("a", "", "one"),
        ("a", "one", "two"),
    ]
