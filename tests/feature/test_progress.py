"""For how long a partition may have been behind."""

from enrichment.feature.progress import Progress


def test_a_partition_at_its_end_is_as_old_as_the_word_of_it() -> None:
    """Each word of an end that is reached already makes it current as of then."""
    progress = Progress()
    progress.begin(0, 5)
    assert progress.behind_s(0, 100.0) == 0.0
    progress.told(0, 5, 100.0)
    assert progress.behind_s(0, 103.0) == 3.0
    progress.told(0, 4, 103.0)
    assert progress.behind_s(0, 103.0) == 0.0


def test_an_end_that_is_reached_later_counts_from_when_it_was_told() -> None:
    """What came after that may still be missing."""
    progress = Progress()
    progress.begin(0, 0)
    progress.told(0, 10, 100.0)
    progress.told(0, 20, 101.0)
    progress.reached(0, 9)
    assert progress.behind_s(0, 105.0) == 5.0
    progress.reached(0, 10)
    progress.told(0, 30, 106.0)
    assert progress.behind_s(0, 106.0) == 6.0
    progress.reached(0, 30)
    assert progress.behind_s(0, 106.0) == 0.0


def test_silence_makes_it_older_and_a_new_beginning_does_not() -> None:
    """While nobody tells the end, time goes on; who begins anew has not been told yet."""
    progress = Progress()
    progress.begin(0, 0)
    progress.told(0, 0, 100.0)
    assert progress.behind_s(0, 160.0) == 60.0
    progress.begin(0, -2)
    assert progress.behind_s(0, 160.0) == 0.0
    assert progress.offset(0) == 0
