"""Records survive the wire, and keep what others rely on."""

import json
import math
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrichment.records import RECORDS, Digest, FeatureUpdate, Job, MicroBatch
from enrichment.records.digest import in_columns
from enrichment.records.micro_batch import SEQUENCE_MAX, feature_version, micro_batch_id
from enrichment.stream.schemas import record_schema
from tests.records.builders import any_record

NAMES = sorted(RECORDS)
VALIDATORS = {name: jsonschema.Draft202012Validator(record_schema(name)) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_a_record_survives_the_wire(name: str, data: st.DataObject) -> None:
    """Encoded and decoded it is the same, byte for byte when encoded again."""
    record = data.draw(any_record(RECORDS[name]))
    wire = msgspec.json.encode(record)
    back = msgspec.json.decode(wire, type=RECORDS[name])
    assert msgspec.json.encode(back) == wire
    if name != "enriched":  # Raw has no equality; its bytes were compared above
        assert back == record


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_a_record_obeys_its_schema(name: str, data: st.DataObject) -> None:
    """What writers write is valid by the schema that readers in other languages go by."""
    record = data.draw(any_record(RECORDS[name]))
    assert VALIDATORS[name].is_valid(json.loads(msgspec.json.encode(record)))


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_a_field_of_a_later_version_is_skipped(name: str, data: st.DataObject) -> None:
    """A reader of today is not stopped by what a later writer adds."""
    record = data.draw(any_record(RECORDS[name]))
    later = {**json.loads(msgspec.json.encode(record)), "added_later": {"x": [1]}}
    back = msgspec.json.decode(json.dumps(later).encode(), type=RECORDS[name])
    if name != "enriched":
        assert back == record


@pytest.mark.parametrize("name", NAMES)
def test_a_record_cannot_be_changed(name: str) -> None:
    """Every record and whatever it holds is frozen."""
    for definition in msgspec.inspect.multi_type_info([RECORDS[name]]):
        assert isinstance(definition, msgspec.inspect.StructType)
        assert definition.cls.__struct_config__.frozen


@given(update=any_record(FeatureUpdate))
def test_version_is_first_in_a_feature_update(update: FeatureUpdate) -> None:
    """The cache's guard reads it by pattern, without parsing the value."""
    assert msgspec.json.encode(update).startswith(b'{"version":%d,' % update.version)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_what_is_no_number_is_refused(number: bytes) -> None:
    """Neither NaN nor an infinity can come in with a record."""
    wire = (
        b'{"version":1,"pipeline":"p","entity":"e","id":"1","group":"g","subgraph":"",'
        b'"event_time_ms":0,"computed_at_ms":0,"values":{"x":%s}}'
    )
    assert msgspec.json.decode(wire % b"1", type=FeatureUpdate).values == {"x": 1.0}
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(wire % number, type=FeatureUpdate)


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_what_is_no_number_does_not_get_far(number: float) -> None:
    """A writer that lets one through writes null, and readers refuse the record."""
    update = FeatureUpdate(
        version=1,
        pipeline="p",
        entity="account",
        id="1",
        group="graph",
        subgraph="",
        event_time_ms=0,
        computed_at_ms=0,
        values={"x": number},
    )
    wire = msgspec.json.encode(update)
    assert not VALIDATORS["feature-update"].is_valid(json.loads(wire))
    with pytest.raises(msgspec.ValidationError, match="Expected `float`, got `null`"):
        msgspec.json.decode(wire, type=FeatureUpdate)


DIGEST = (
    b'{"pipeline":"p","shard":"s","pane_start_ms":0,"pane_end_ms":1,"source_partition":0,'
    b'"offset_first":0,"offset_last":9,"progress_ms":1,%s}'
)


def test_what_a_digest_counts_travels_in_columns() -> None:
    """At full load it is most of a digest's bytes: no name and no bracket is there twice."""
    wire = DIGEST % (
        b'"link_columns":{"a~b":[["x","x"],["y","z"],[2,1],[30,5],[1,0]]},'
        b'"tally_columns":{"a":[["x"],[3],[35]]},"aggregate_columns":{"risk":[["x"],[3],[2000000]]}'
    )
    digest = msgspec.json.decode(wire, type=Digest)
    links, tallies, risk = (
        digest.link_columns["a~b"],
        digest.tally_columns["a"],
        digest.aggregate_columns["risk"],
    )
    assert (links.b, links.events, links.amount_minor, links.newest_ms) == (
        ["y", "z"],
        [2, 1],
        [30, 5],
        [1, 0],
    )
    assert (tallies.ids, tallies.events, tallies.amount_minor) == (["x"], [3], [35])
    assert (risk.ids, risk.count, risk.sum_micro) == (["x"], [3], [2_000_000])
    assert (len(links), len(tallies), len(risk)) == (2, 1, 1)
    assert msgspec.json.encode(digest) == wire


@pytest.mark.parametrize(
    "columns",
    [
        b'"link_columns":{"a":[["x"],["y"],[1],[30],[]]}',
        b'"link_columns":{"a":[[],["y"],[],[],[]]}',
        b'"tally_columns":{"a":[["x","y"],[1,2],[30]]}',
        b'"aggregate_columns":{"a":[["x"],[1,2],[30]]}',
    ],
)
def test_columns_of_different_lengths_are_refused(columns: bytes) -> None:
    """A reader is never left with half a row, and is told where the digest is wrong."""
    with pytest.raises(msgspec.ValidationError, match=r"columns of different lengths.*\$\."):
        msgspec.json.decode(DIGEST % columns, type=Digest)


def test_what_0_1_0_wrote_is_read() -> None:
    """Row by row, with a time in each: the same columns come of it."""
    rows = (
        b'"events":3,"links":{"a~b":[["x","y",2,30,1],["x","z",1,5,0]]},'
        b'"tallies":{"a":[["x",3,35,1]]},"aggregates":{"risk":[["x",3,2000000,1]]}'
    )
    columns = (
        b'"newest_ms":1,"events":3,'
        b'"link_columns":{"a~b":[["x","x"],["y","z"],[2,1],[30,5],[1,0]]},'
        b'"tally_columns":{"a":[["x"],[3],[35]]},"aggregate_columns":{"risk":[["x"],[3],[2000000]]}'
    )
    old, new = (msgspec.json.decode(DIGEST % wire, type=Digest) for wire in (rows, columns))
    assert in_columns(old) == new
    assert in_columns(new) is new


def test_what_no_column_can_hold_is_refused() -> None:
    """Columns are of 64 bits: a larger number is an error of the record, not of its reader."""
    wire = DIGEST % b'"tally_columns":{"a":[["x"],[1],[9223372036854775808]]}'
    with pytest.raises(msgspec.ValidationError, match=r"\$\.tally_columns"):
        msgspec.json.decode(wire, type=Digest)


STARTS = st.integers(0, 4_102_444_800_000)  # to the year 2100
SEQUENCES = st.integers(0, SEQUENCE_MAX)


@given(one=st.tuples(STARTS, SEQUENCES), other=st.tuples(STARTS, SEQUENCES))
def test_versions_order_the_closes_of_a_shard(one: tuple[int, int], other: tuple[int, int]) -> None:
    """A later window, or a later close of one window, has the larger version; JSON keeps it."""
    assert (feature_version(*one) < feature_version(*other)) == (one < other)
    assert feature_version(*one) < 2**53


@given(batch=any_record(MicroBatch))
def test_a_micro_batch_knows_its_version(batch: MicroBatch) -> None:
    """It is that of its window's start and sequence."""
    assert batch.version == feature_version(batch.window_start_ms, batch.sequence)


def test_the_identity_of_a_close_is_fixed() -> None:
    """Ledger keys and job ids rest on it."""
    assert micro_batch_id("payments", "eu", 2_000, 3) == "payments|eu|2000|3"


@given(job=any_record(Job), name=st.sampled_from(["state", "job_id"]))
def test_a_record_that_lacks_a_field_is_refused(job: Job, name: str) -> None:
    """A required field that is missing is an error that names it."""
    fields: dict[str, Any] = json.loads(msgspec.json.encode(job))
    del fields[name]
    with pytest.raises(msgspec.ValidationError, match=f"missing required field `{name}`"):
        msgspec.json.decode(json.dumps(fields).encode(), type=Job)
