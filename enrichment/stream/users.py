"""Users of Kafka: a role's rules as Strimzi's KafkaUser, and as bindings for any broker."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import yaml
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from enrichment.access import Kind, Operation, Rule

AUTHENTICATIONS: Final = ("scram-sha-512", "tls")
"""How a user proves who it is, as Strimzi names it."""

_RESOURCES: Final = {
    Kind.TOPIC: ResourceType.TOPIC,
    Kind.GROUP: ResourceType.GROUP,
    Kind.TRANSACTIONAL_ID: ResourceType.TRANSACTIONAL_ID,
    Kind.CLUSTER: ResourceType.BROKER,
}

_OPERATIONS: Final = {
    Operation.READ: AclOperation.READ,
    Operation.WRITE: AclOperation.WRITE,
    Operation.CREATE: AclOperation.CREATE,
    Operation.ALTER: AclOperation.ALTER,
    Operation.DESCRIBE: AclOperation.DESCRIBE,
    Operation.ALTER_CONFIGS: AclOperation.ALTER_CONFIGS,
    Operation.DESCRIBE_CONFIGS: AclOperation.DESCRIBE_CONFIGS,
}


def bindings(user: str, rules: Iterable[Rule]) -> Iterator[AclBinding]:
    """What a broker is told, through its admin client, to let a user do just that."""
    for rule in rules:
        pattern = ResourcePatternType.PREFIXED if rule.prefixed else ResourcePatternType.LITERAL
        for operation in rule.operations:
            yield AclBinding(
                _RESOURCES[rule.kind],
                rule.name,
                pattern,
                f"User:{user}",
                "*",
                _OPERATIONS[operation],
                AclPermissionType.ALLOW,
            )


def manifest(user: str, rules: Iterable[Rule], authentication: str, cluster: str) -> dict[str, Any]:
    """A KafkaUser: Strimzi's operator makes the user, its secret and its rules from it."""
    return {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": "KafkaUser",
        "metadata": {
            "name": user,
            "labels": {
                "strimzi.io/cluster": cluster,
                "app.kubernetes.io/part-of": "enrichment",
            },
        },
        "spec": {
            "authentication": {"type": authentication},
            "authorization": {"type": "simple", "acls": [_acl(rule) for rule in rules]},
        },
    }


def manifests_text(manifests: Iterable[dict[str, Any]]) -> str:
    """Manifests as YAML, one document each."""
    return "".join(
        "---\n" + yaml.safe_dump(each, sort_keys=False, default_flow_style=False)
        for each in manifests
    )


def _acl(rule: Rule) -> dict[str, Any]:
    resource: dict[str, Any] = {"type": rule.kind.value}
    if rule.kind is not Kind.CLUSTER:  # there is one, and Strimzi wants no name for it
        resource |= {
            "name": rule.name,
            "patternType": "prefix" if rule.prefixed else "literal",
        }
    return {"resource": resource, "operations": [each.value for each in rule.operations]}
