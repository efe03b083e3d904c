"""The two ways that `bench reencode` compares do the same work."""

import msgspec

from enrichment.lab.bench.reencode import CARRIED, REWRITTEN, SENSITIVE, pipelines


def test_the_pipelines_differ_in_what_is_concealed_and_in_nothing_else() -> None:
    """Nothing is sensitive in one, a field that no score reads in the other."""
    carried, rewritten = pipelines()[CARRIED], pipelines()[REWRITTEN]
    assert carried.stream.sensitive == ()
    assert rewritten.stream.sensitive == SENSITIVE
    stream = msgspec.structs.replace(rewritten.stream, sensitive=())
    assert msgspec.structs.replace(rewritten, stream=stream) == carried
    read = {term.value for term in carried.score.terms}
    assert not any(f"event.{field}" in read for field in SENSITIVE)
