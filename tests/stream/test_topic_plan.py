"""How topics differ from their manifests, without a broker."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from enrichment.stream.manifests import TopicManifest
from enrichment.stream.topic_plan import (
    Change,
    TopicState,
    differences,
    partitions_after,
    refusals,
)

WANTED = TopicManifest(
    name="t", partitions=4, replicas=1, config={"retention.ms": "1000"}, file="t.yaml"
)
IN_STEP = TopicState(
    name="t",
    partitions=4,
    replicas=1,
    config={"retention.ms": "1000", "cleanup.policy": "delete"},
    overrides=frozenset({"retention.ms"}),
)


def test_a_topic_in_step_differs_in_nothing() -> None:
    """Values of the broker's own, which no manifest names, are no difference."""
    assert differences([WANTED], {"t": IN_STEP}) == ()


def test_a_missing_topic_is_created() -> None:
    """And nothing else is said of it."""
    (found,) = differences([WANTED], {})
    assert (found.change, found.wanted) == (Change.CREATE, "4 partitions")
    assert refusals([found], allow_repartition=False) == ()


def test_partitions_are_added_only_on_demand() -> None:
    """A key would move to another partition, so it takes an option; without it, it is refused."""
    (found,) = differences([WANTED], {"t": replace(IN_STEP, partitions=2)})
    assert found.change is Change.ADD_PARTITIONS
    (line,) = refusals([found], allow_repartition=False)
    assert line.startswith("t: partitions: wanted 4, found 2: keys would move")
    assert refusals([found], allow_repartition=True) == ()


def test_partitions_are_never_taken_away() -> None:
    """Not even with the option."""
    (found,) = differences([WANTED], {"t": replace(IN_STEP, partitions=8)})
    (line,) = refusals([found], allow_repartition=True)
    assert "Kafka cannot take partitions away" in line


def test_replicas_are_not_moved() -> None:
    """It is said who does that."""
    (found,) = differences([WANTED], {"t": replace(IN_STEP, replicas=3)})
    (line,) = refusals([found], allow_repartition=True)
    assert line.startswith("t: replicas: wanted 1, found 3: replicas are moved by")


def test_a_config_that_the_manifest_does_not_name_goes_back() -> None:
    """What was set by hand on the broker is a difference: the manifest is the whole truth."""
    by_hand = replace(
        IN_STEP,
        config={"retention.ms": "1000", "segment.ms": "5"},
        overrides=frozenset({"retention.ms", "segment.ms"}),
    )
    (found,) = differences([WANTED], {"t": by_hand})
    assert (found.change, found.key, found.found) == (Change.RESET_CONFIG, "segment.ms", "5")


def test_numbers_are_compared_as_numbers() -> None:
    """0.10 is 0.1; text is compared as text."""
    wanted = replace(
        WANTED, config={"min.cleanable.dirty.ratio": "0.1", "cleanup.policy": "delete"}
    )
    state = replace(
        IN_STEP,
        config={"min.cleanable.dirty.ratio": "0.10", "cleanup.policy": "compact"},
        overrides=frozenset(),
    )
    (found,) = differences([wanted], {"t": state})
    assert (found.change, found.key, found.wanted) == (
        Change.SET_CONFIG,
        "cleanup.policy",
        "delete",
    )


def test_counts_after_applying_some_topics() -> None:
    """Topics that are left out keep the counts they have."""
    assert partitions_after([WANTED], {"t": replace(IN_STEP, partitions=2), "u": IN_STEP}) == {
        "t": 4,
        "u": 4,
    }


CONFIGS = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.sampled_from(["1", "2", "x"]))


@given(wanted=CONFIGS, found=CONFIGS)
def test_carrying_out_the_differences_brings_configs_in_step(
    wanted: dict[str, str], found: dict[str, str]
) -> None:
    """Whatever was set, setting and resetting what is named leaves no difference."""
    manifest = replace(WANTED, config=wanted)
    state = replace(IN_STEP, config=found, overrides=frozenset(found))
    config = dict(found)
    for each in differences([manifest], {"t": state}):
        if each.change is Change.SET_CONFIG:
            config[each.key] = each.wanted
        else:
            assert each.change is Change.RESET_CONFIG
            del config[each.key]
    after = replace(state, config=config, overrides=frozenset(config))
    assert differences([manifest], {"t": after}) == ()
