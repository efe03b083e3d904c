"""The layout of the cache, and the guard in a real Redis: no version ever goes back."""

import msgspec
import pytest
import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from redis.crc import key_slot

from enrichment.feature.store import (
    BUCKETS,
    GUARD,
    Layout,
    feature_key,
    partitions_key,
    projection_key,
    rank_of,
    update_key,
    version_of,
    without_differences,
)
from enrichment.lab.servers import LocalServers
from enrichment.records import FeatureUpdate
from tests.feature.cached import update

pytestmark = pytest.mark.servers

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
VERSIONS_MAX = 2**53  # what Lua's numbers hold exactly
TEXTS = st.text(st.characters(exclude_characters="|", exclude_categories=["Cs"]), min_size=1)


@given(pipeline=TEXTS, kind=TEXTS, id_=st.text(min_size=1).filter(str.isprintable), group=TEXTS)
@example(pipeline="payments", kind="account", id_="4|2:x", group="ring")
def test_an_update_finds_its_key_in_redis(pipeline: str, kind: str, id_: str, group: str) -> None:
    """Whatever an id is made of, separators included, both keys speak of the same features."""
    on_topic = update_key(pipeline, kind, id_, group).encode()
    for layout in (Layout(pipeline), Layout(pipeline, cluster=True)):
        assert layout.feature_of(on_topic) == layout.feature(kind, id_, group)
    assert Layout(pipeline).feature(kind, id_, group) == feature_key(pipeline, kind, id_, group)


@given(
    id_=st.text(),
    differences=st.dictionaries(st.from_regex("[a-z_]+", fullmatch=True), NUMBERS),
    values=st.dictionaries(st.text(), NUMBERS),
)
@example(id_=',"differences":{', differences={"energy_gap": 1.0}, values={',"differences":{': 2.0})
def test_the_cache_holds_everything_but_the_differences(
    id_: str, differences: dict[str, float], values: dict[str, float]
) -> None:
    """They are cut out of the text, whatever texts there are; where there are none, it is kept."""
    bare = update("account", id_, "ring", values=values)
    assert bare.source is not None
    source = msgspec.structs.replace(bare.source, differences=differences)
    full = msgspec.json.encode(msgspec.structs.replace(bare, source=source))
    cut = without_differences(full)
    assert msgspec.json.decode(cut, type=FeatureUpdate) == bare
    assert cut == msgspec.json.encode(bare)
    assert without_differences(cut) is cut


def test_the_keys_are_as_documented() -> None:
    """Word for word: teams read them without us. On a cluster, with their bucket in braces."""
    one, cluster = Layout("payments"), Layout("payments", cluster=True)
    assert one.feature("account", "42", "ring") == "features:payments:account:42:ring"
    assert cluster.feature("account", "42", "ring") == "features:payments:{41}:account:42:ring"
    assert one.projection(3) == projection_key("payments", 3) == "features:payments:projection:3"
    assert one.partitions() == partitions_key("payments") == "features:payments:projection"
    assert cluster.projection(3) == "features:payments:{38}:projection:3"
    assert cluster.partitions() == "features:payments:{38}:projection"


@given(kind=TEXTS, id_=TEXTS)
def test_groups_of_one_entity_share_a_slot(kind: str, id_: str) -> None:
    """Whatever the id is made of, braces included: the bucket's are the first."""
    layout = Layout("payments", cluster=True)
    keys = [layout.feature(kind, id_, group).encode() for group in ("graph", "ring")]
    assert len({key_slot(key) for key in keys}) == 1
    assert keys[0].split(b"{")[1].split(b"}")[0] in {b"%d" % number for number in range(BUCKETS)}


@pytest.mark.parametrize(
    "key", [b"", b"payments", b"payments|account|1", b"payments|a|\xff|g", b"other|account|1|ring"]
)
def test_a_key_of_another_form_is_none_of_ours(key: bytes) -> None:
    """Such a record is skipped: it names no features."""
    assert Layout("payments").feature_of(key) is None


@pytest.mark.parametrize(
    ("value", "versioned"),
    [
        (msgspec.json.encode(update("account", "1", "ring", version=VERSIONS_MAX)), True),
        (msgspec.json.encode(update("account", "1", "ring", version=0)), True),
        (b'{"pipeline":"payments","version":1}', False),
        (b'{"version":-1,"x":1}', False),
        (b'{"version":"1","x":1}', False),
        (b'{"version":' + b"9" * 17 + b',"x":1}', False),
        (b"", False),
        (b"null", False),
    ],
)
def test_only_what_the_guard_can_read_is_a_value(value: bytes, versioned: bool) -> None:
    """A value has its version in front, within what Lua counts exactly, as records encode it."""
    assert (version_of(value) is not None) is versioned


@pytest.fixture
def cache(servers: LocalServers) -> redis.Redis:
    """A client of the shared Redis; keys of these tests begin with `guard:`."""
    return redis.Redis.from_url(servers.redis_url)


def held(cache: redis.Redis, key: str) -> int | None:
    """The version that the cache holds."""
    value = cache.get(key)
    assert value is None or isinstance(value, bytes)
    return None if value is None else int(msgspec.json.decode(value)["version"])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batches=st.lists(
        st.lists(
            st.tuples(
                st.sampled_from(["a", "b", "c"]),
                st.integers(0, 20) | st.integers(VERSIONS_MAX - 20, VERSIONS_MAX),
            ),
            min_size=1,
            max_size=6,
            unique_by=lambda write: write[0],
        ),
        max_size=6,
    )
)
@example(batches=[[("a", 9)], [("a", 10)]])  # compared as text, 10 would be the older one
def test_versions_never_go_back(cache: redis.Redis, batches: list[list[tuple[str, int]]]) -> None:
    """In whatever order writes come, repeated or not, each key holds its highest version."""
    guard = cache.register_script(GUARD)
    cache.delete("guard:a", "guard:b", "guard:c")
    highest: dict[str, int] = {}
    for batch in batches:
        keys = [f"guard:{name}" for name, _ in batch]
        values = [
            msgspec.json.encode(update("account", name, "ring", version=version))
            for name, version in batch
        ]
        written = sum(version > highest.get(name, -1) for name, version in batch)
        assert guard(keys=keys, args=[60_000, *values]) == written
        for name, version in batch:
            highest[name] = max(highest.get(name, -1), version)
            assert held(cache, f"guard:{name}") == highest[name]


def test_of_one_version_the_one_computed_later_stands(cache: redis.Redis) -> None:
    """A job that was tried again replaces its fallback, and is not replaced by it: read twice."""
    guard = cache.register_script(GUARD)
    cache.delete("guard:r")
    plain = update("account", 'r","computed_at_ms":9', "ring", version=7)
    then, now = (msgspec.structs.replace(plain, computed_at_ms=at_ms) for at_ms in (999, 1_000))
    for value, written in ((then, 1), (now, 1), (then, 0), (now, 0)):
        encoded = msgspec.json.encode(value)
        assert rank_of(encoded) == (7, value.computed_at_ms)
        assert guard(keys=["guard:r"], args=[60_000, encoded]) == written
    stored = cache.get("guard:r")
    assert isinstance(stored, bytes)
    assert msgspec.json.decode(stored)["computed_at_ms"] == 1_000


def test_a_value_that_is_none_of_ours_is_replaced(cache: redis.Redis) -> None:
    """What stands under a key without a version is no feature, and keeps no feature out."""
    cache.set("guard:x", b"junk")
    value = msgspec.json.encode(update("account", "x", "ring", version=3))
    cache.register_script(GUARD)(keys=["guard:x"], args=[60_000, value])
    assert held(cache, "guard:x") == 3


def test_a_written_value_expires(cache: redis.Redis) -> None:
    """Redis forgets what nobody renews, and does not forget it early."""
    value = msgspec.json.encode(update("account", "t", "ring", version=1))
    cache.delete("guard:t")
    cache.register_script(GUARD)(keys=["guard:t"], args=[60_000, value])
    left_ms = cache.pttl("guard:t")
    assert isinstance(left_ms, int)
    assert 50_000 < left_ms <= 60_000


def test_a_flushed_script_cache_is_no_trouble(cache: redis.Redis) -> None:
    """A Redis that lost its scripts gets the guard again, and the write succeeds."""
    guard = cache.register_script(GUARD)
    for version in (1, 2):
        cache.script_flush()
        value = msgspec.json.encode(update("account", "f", "ring", version=version))
        guard(keys=["guard:f"], args=[60_000, value])
        assert held(cache, "guard:f") == version
