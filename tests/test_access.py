"""Least privilege as data: who may do what, and that users are made from it."""

import json
import re
from pathlib import Path

import pytest
import yaml

from enrichment.access import (
    REDIS,
    SHARED,
    STAGES,
    Access,
    Kind,
    Operation,
    Role,
    access_of,
    redis_rules,
    user_of,
)
from enrichment.cli import access as command
from enrichment.cli.stages import STAGES as COMMANDS
from enrichment.settings import Settings
from enrichment.stream import topics
from enrichment.stream.manifests import load_manifests
from enrichment.stream.topics import StreamTopics
from enrichment.stream.users import bindings
from tests.cli.commands import runner_of

ROOT = Path(__file__).resolve().parents[1]
OWN = StreamTopics("payments")
run = runner_of(command.register)


def writers(topic: str, *, calibrated: bool = False) -> set[Role]:
    """Every role that may write a topic."""
    return {
        role for role in Role if topic in access_of(role, "payments", calibrated=calibrated).writes
    }


def test_every_stage_has_a_role() -> None:
    """As the command line has them; the console is none of them."""
    assert {role.value for role in STAGES} == set(COMMANDS)


def test_every_topic_is_somebodys() -> None:
    """Those with a manifest are shared or a stream's own, and each is read and written."""
    own = {name for name in vars(StreamTopics) if isinstance(vars(StreamTopics)[name], property)}
    streams = {getattr(OWN, name) for name in own}
    named = {
        each.name
        for each in load_manifests(ROOT / "topics")
        if not each.name.startswith(("cards.", "trust."))
    }
    assert named == {*SHARED, *streams}
    for topic in named:
        assert writers(topic), topic
        assert any(topic in access_of(role, "payments").reads for role in STAGES) or topic in {
            OWN.reviews, OWN.dead_letters, topics.REPLAYS,
        }, topic  # fmt: skip


@pytest.mark.parametrize(
    ("topic", "wanted"),
    [
        (OWN.events, {Role.PUBLISHER, Role.OPERATOR}),
        (OWN.outcomes, {Role.OUTCOMES, Role.OPERATOR}),
        (OWN.enriched, {Role.ENRICH}),
        (topics.DIGESTS, {Role.ENRICH}),
        (topics.MICRO_BATCHES, {Role.WINDOW}),
        (topics.JOBS, {Role.SAMPLE}),
        (topics.CASES, {Role.SAMPLE}),
        (topics.FEATURES, {Role.WINDOW, Role.SAMPLE}),
        (topics.CONTROL, {Role.GUARD, Role.OPERATOR}),
        (topics.ORDERS, {Role.OPERATOR}),
    ],
)
def test_who_may_write_what(topic: str, wanted: set[Role]) -> None:
    """Above all the control topic: whoever writes there decides which path serves."""
    assert writers(topic) == wanted


def test_a_sampler_writes_control_only_where_a_device_is_calibrated() -> None:
    """It says there that a calibration has changed, and has nothing else to say."""
    assert Role.SAMPLE in writers(topics.CONTROL, calibrated=True)
    assert Role.SAMPLE not in writers(topics.CONTROL)


@pytest.mark.parametrize("role", Role)
def test_rules_name_what_they_are_about(role: Role) -> None:
    """No topic by a prefix, nothing by an empty name, each resource once."""
    rules = access_of(role, "payments", calibrated=True).rules()
    assert rules
    assert len({(rule.kind, rule.name, rule.prefixed) for rule in rules}) == len(rules)
    for rule in rules:
        assert rule.name
        assert "*" not in rule.name
        assert rule.operations
        if rule.kind is Kind.TOPIC:
            assert not rule.prefixed
        if rule.prefixed:
            assert rule.name.endswith("."), "payments-2 is not payments"


def test_what_is_granted_twice_is_one_rule() -> None:
    """With both operations, as a manifest wants it."""
    [rule] = Access(reads=("t",), writes=("t",)).rules()
    assert rule.operations == (Operation.READ, Operation.WRITE)


def test_a_user_is_a_resource_of_kubernetes() -> None:
    """Whatever a pipeline is called, and no two roles are one."""
    names = [user_of(role, pipeline) for role in Role for pipeline in ("payments", "My_stream")]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name) for name in names)


def test_bindings_are_the_rules() -> None:
    """One for each operation of each rule, for that user alone."""
    rules = access_of(Role.ENRICH, "payments").rules()
    made = list(bindings("me", rules))
    assert len(made) == sum(len(rule.operations) for rule in rules)
    assert {each.principal for each in made} == {"User:me"}


def test_the_committed_users_are_those_that_are_printed() -> None:
    """`enrichment access kafka -p payments > deploy/kubernetes/users/payments.yaml` mends it."""
    printed = run("access", "kafka", "-p", "payments", settings=Settings())
    file = ROOT / "deploy" / "kubernetes" / "users" / "payments.yaml"
    assert printed.stdout == file.read_text(encoding="utf-8")
    documents = list(yaml.safe_load_all(printed.stdout))
    assert [each["metadata"]["name"] for each in documents] == [
        user_of(role, "payments") for role in Role
    ]
    # What Strimzi's v1 knows of a KafkaUser.
    for each in documents:
        assert each["spec"]["authentication"] == {"type": "scram-sha-512"}
        for acl in each["spec"]["authorization"]["acls"]:
            assert acl.keys() == {"resource", "operations"}
            of = acl["resource"]
            assert of["type"] in {"topic", "group", "transactionalId", "cluster"}
            assert of.get("patternType", "literal") in {"literal", "prefix"}


def test_the_page_names_every_role_and_only_settings_that_exist() -> None:
    """A variable that is misspelt there would be passed over here."""
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    for role in Role:
        assert f"\n| `{role.value}` |" in page
    fields = {f"ENRICHMENT_{name.upper()}" for name in Settings.model_fields}
    named = set(re.findall(r"ENRICHMENT_[A-Z_]*[A-Z]", page))
    # A group of settings is named by what they begin with.
    assert all(any(each.startswith(name) for each in fields) for name in named)


def test_rules_are_printed_for_any_broker() -> None:
    """As JSON, of the roles that were asked for."""
    printed = run("access", "kafka", "--role", "project", "--json", settings=Settings())
    rows = json.loads(printed.stdout)
    assert {row["user"] for row in rows} == {"enrichment-project-payments"}
    assert {row["name"] for row in rows if row["resource"] == "topic"} == {
        topics.FEATURES,
        topics.CONTROL,
    }


def test_users_of_redis_are_printed_without_a_password() -> None:
    """Nobody can be any of them until one is added, and the default user is off."""
    printed = run("access", "redis", settings=Settings()).stdout.splitlines()
    assert printed[0] == "user default off"
    assert printed[1:] == [f"user {name} on {redis_rules(name, 'payments')}" for name in REDIS]
    assert not any(mark in line for line in printed for mark in ("nopass", ">", "+@all", "allkeys"))
