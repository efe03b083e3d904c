"""The window stage's Faust driver on a real broker: what is read, and what gets committed.

The application is `driver_app.py`: an upgrade of Faust or aiokafka that breaks the driver is seen
here, whatever the window stage makes of it.
"""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from enrichment.lab.servers import LocalServers
from tests.integration.driven import Group
from tests.integration.driver_app import SESSION_S
from tests.integration.stages import eventually

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(90)]

COMMITS_S = 1.0  # several commit intervals of the application
NEVER_S = 3_600.0


@pytest.fixture
def group(servers: LocalServers, tmp_path: Path) -> Iterator[Callable[..., Group]]:
    """A factory of groups. In none may the books be asked outside the loop that changes them."""
    made: list[Group] = []

    def make(**options: int) -> Group:
        made.append(Group(servers.bootstrap, tmp_path, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()
        assert not any(worker.said("asked elsewhere") for worker in one.workers)


def test_only_committed_records_are_read(group: Callable[..., Group]) -> None:
    """Those of an aborted transaction never, those of an open one not before it commits."""
    one = group()
    worker = one.worker()
    first, second = one.transactions(), one.transactions()
    first.commit("a")
    first.abort("lost")
    second.send("hidden")
    first.commit("after")
    worker.await_read("a")
    time.sleep(COMMITS_S)
    assert [value for _, value in worker.read()] == ["a"]
    second.commit()
    worker.await_read("a", "hidden", "after")
    assert [value for _, value in worker.read()] == ["a", "hidden", "after"]


def test_a_held_event_holds_the_commit_at_its_very_offset(group: Callable[..., Group]) -> None:
    """Later events are processed meanwhile; once it is released the commit moves on, with notes."""
    one = group()
    worker = one.worker()
    one.send("a", "hold x", "b", "hold y", "c")
    worker.await_read("a", "hold x", "b", "hold y", "c")
    one.await_committed(1)
    one.send("d")
    worker.await_read("d")
    time.sleep(COMMITS_S)
    assert one.commits()[-1] == (1, "a 1")
    one.send("release x")
    one.await_committed(3)
    one.send("release y")
    one.await_committed(8)
    commits = one.commits()
    assert commits[-1] == (8, "a 8")
    assert {offset for offset, _ in commits} <= {0, 1, 3, 8}
    assert commits == [(offset, f"a {offset}") for offset in sorted({o for o, _ in commits})]


def test_markers_of_transactions_do_not_stall_the_commit(group: Callable[..., Group]) -> None:
    """The commit gets to what the books call safe, gaps and markers at the end notwithstanding."""
    one = group()
    worker = one.worker()
    producer = one.transactions()
    for value in ("a", "b", "c"):
        producer.commit(value)
    producer.abort("lost", "lost")
    worker.await_read("a", "b", "c")
    assert worker.offsets() == [0, 2, 4]
    one.await_committed(5)
    producer.commit("d")
    worker.await_read("d")
    assert worker.offsets() == [0, 2, 4, 9]
    one.await_committed(10)


def test_a_commit_that_was_refused_is_made_again(group: Callable[..., Group]) -> None:
    """Also where the offset stands still meanwhile: Faust believes that it is committed."""
    one = group()
    worker = one.worker()
    one.send("a")
    worker.await_read("a")
    one.await_committed(1)
    one.send("widen", "hold x")
    worker.await_read("widen", "hold x")
    time.sleep(COMMITS_S)
    assert "OffsetMetadataTooLarge" in worker.log()
    one.send("narrow")
    one.await_committed(2)


def test_after_a_kill_all_from_the_committed_offset_is_read_again(
    group: Callable[..., Group],
) -> None:
    """Nothing before it is, and nothing after it is lost."""
    one = group()
    first = one.worker()
    one.send("a", "b", "hold x", "c", "d")
    first.await_read("d")
    one.await_committed(2)
    first.kill()
    one.send("e")
    second = one.worker()
    second.await_read("e")
    one.send("release x")
    one.await_committed(7)
    assert second.offsets() == [2, 3, 4, 5, 6]
    assert second.read()[:3] == first.read()[2:]


def test_sigterm_commits_what_is_safe_and_leaves_at_once(group: Callable[..., Group]) -> None:
    """Exit code 0 within seconds although an event is held, and the group is told."""
    one = group()
    worker = one.worker(commit_s=NEVER_S)
    one.send("a", "b", "hold x", "c")
    worker.await_read("c")
    assert one.commits() == []
    worker.process.send_signal(signal.SIGTERM)
    started_s = time.monotonic()
    assert worker.process.wait(20) == 0
    assert time.monotonic() - started_s < 4
    assert len(worker.said("leaving")) == 1
    assert one.commits() == [(2, "a 2")]
    assert one.is_empty()


def test_a_zombie_does_not_undo_commits(group: Callable[..., Group]) -> None:
    """Suspended past its session it finds another one ahead, and goes on where that one was."""
    one = group()
    # It commits seldom, so that it has something to commit when it comes back, and its books stay
    # behind. It is slow to seek: commits are due between its new assignment and the seek. Members
    # are sorted by name, so the partition is its own again once it is back.
    zombie = one.worker("a", commit_s=0.9, delay_s=2.0, releases=False)
    one.send("a", "hold x", "b")
    zombie.await_read("b")
    zombie.process.send_signal(signal.SIGSTOP)
    suspended_s = time.monotonic()
    other = one.worker("b")
    one.send("release x", "c", "d")
    one.await_committed(6)
    assert time.monotonic() - suspended_s > SESSION_S / 2
    zombie.process.send_signal(signal.SIGCONT)
    eventually("the zombie is back", lambda: len(zombie.said("sought")) > 1)
    eventually("the other has lost it", lambda: not other.assigned())
    one.send("e")
    zombie.await_read("e")
    one.await_committed(7)
    commits = one.commits()
    assert commits == sorted(commits, key=lambda commit: commit[0])
    assert commits[-2:] == [(6, "b 6"), (7, "a 7")]
    assert zombie.offsets().count(6) == 1
    assert zombie.process.poll() is None


def test_reading_begins_where_the_books_seek(group: Callable[..., Group]) -> None:
    """They seek once partitions are assigned and before an event comes, after a rebalance too."""
    one = group(partitions=2)
    one.send(*"abcd")
    one.send(*"abcdef", partition=1)
    one.set_committed({0: 2, 1: 4})
    first = one.worker("a", back=2)
    first.await_read(*"abcd")
    first.await_read(*"cdef", partition=1)
    (topic,) = one.topics
    assert first.said("sought")[0].assigned == ((topic, 0, ""), (topic, 1, ""))
    one.send("hold x", "e")
    first.await_read("hold x", "e")
    one.await_committed(4)
    one.await_committed(6, partition=1)
    second = one.worker("b", back=2)
    second.await_read(*"ef", partition=1)
    eventually("one is left to the first", lambda: first.assigned() == {(topic, 0)})
    assert second.said("sought")[-1].assigned == ((topic, 1, "a 6"),)
    one.send("f")
    one.send("g", partition=1)
    first.await_read("f")
    second.await_read("g", partition=1)
    # It goes on where it was, and not at the offset that is committed.
    assert first.offsets() == [0, 1, 2, 3, 4, 5, 6]
    assert second.offsets(1) == [4, 5, 6]
    assert first.offsets(1) == [2, 3, 4, 5]


def test_a_worker_that_is_left_with_nothing_is_told_so(group: Callable[..., Group]) -> None:
    """Its books are asked to seek nothing, and so they let go of what somebody else has now."""
    one = group()
    second = one.worker("b")
    one.send("a")
    second.await_read("a")
    one.await_committed(1)
    first = one.worker("a")
    eventually("the first has it", lambda: bool(first.assigned()))
    eventually("the second has nothing", lambda: not second.assigned())
    assert [one.assigned != () for one in second.said("sought")] == [True, False]
    one.send("b")
    first.await_read("b")
    one.await_committed(2)
    assert second.offsets() == [0]
    assert one.commits()[-1] == (2, "a 2")


def test_partitions_of_one_number_go_to_one_worker(group: Callable[..., Group]) -> None:
    """Whatever the topic: round robin would part them where their number is odd."""
    one = group(topics=2, partitions=3)
    workers = [one.worker("a"), one.worker("b")]
    wanted = {(topic, number) for topic in one.topics for number in range(3)}
    eventually(
        "all is shared out",
        lambda: (
            all(worker.assigned() for worker in workers)
            and set.union(*(worker.assigned() for worker in workers)) == wanted
            and set.isdisjoint(*(worker.assigned() for worker in workers))
        ),
    )
    numbers = [{number for _, number in worker.assigned()} for worker in workers]
    assert numbers == [{0, 1}, {2}]
