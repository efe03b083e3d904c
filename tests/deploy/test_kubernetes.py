"""What deploy/kubernetes promises, asked of what kustomize builds; no cluster runs here."""

import json
import re
import tomllib
from pathlib import Path
from typing import Final

import jsonschema
import pytest
import yaml

from enrichment.cli.stages import STAGES
from enrichment.lab.processes import STOP_S
from enrichment.pipelines import load
from enrichment.profile import OF_CACHE, Weight, breaches
from enrichment.settings import Settings
from enrichment.stream.manifests import load_manifests, parse_manifests
from tests.deploy.built import (
    KUBERNETES,
    ROOT,
    Built,
    Manifest,
    build,
    container,
    environment,
    labels_of,
    references,
    secret_files,
    selects,
)

SCHEMA: Final = json.loads((Path(__file__).parent / "kubernetes-1.34.json").read_text())
DEFINED: Final = {
    "apps/v1": "io.k8s.api.apps.v1",
    "networking.k8s.io/v1": "io.k8s.api.networking.v1",
    "policy/v1": "io.k8s.api.policy.v1",
    "v1": "io.k8s.api.core.v1",
}
# Kinds of others, whose schemas are theirs: what we use of them is asked below.
FOREIGN: Final = {
    ("keda.sh/v1alpha1", "ScaledObject"),
    ("keda.sh/v1alpha1", "TriggerAuthentication"),
    ("kafka.strimzi.io/v1", "KafkaTopic"),
    ("kafka.strimzi.io/v1", "KafkaUser"),
    ("monitoring.coreos.com/v1", "PodMonitor"),
}
KEDA_METADATA: Final = {
    "bootstrapServers", "consumerGroup", "topic", "lagThreshold", "offsetResetPolicy", "sasl",
    "tls",
}  # fmt: skip
# The stages, and the role that shows what they do.
ROLES: Final = (*STAGES, "console")
# The cache is opened by those stages that write or read features, and by the console.
OPENS_CACHE: Final = frozenset({*OF_CACHE, "console"})
PROBES: Final = ("startupProbe", "livenessProbe", "readinessProbe")
# What a pod is told by a stable name: two under one name fence each other.
NAMED: Final = frozenset({"enrich", "sample", "project"})


@pytest.fixture(scope="module")
def production() -> Built:
    """The production overlay, built."""
    return build(KUBERNETES / "overlays" / "production")


@pytest.fixture(scope="module", params=["base", "overlays/production"])
def built(request: pytest.FixtureRequest) -> Built:
    """The base, which is to be whole by itself, and the overlay."""
    return build(KUBERNETES / request.param)


def test_every_manifest_is_what_kubernetes_takes(built: Built) -> None:
    """Valid by the strict schemas of Kubernetes, no unknown field in it; or of a known kind."""
    for each in built.manifests:
        version, kind = each["apiVersion"], each["kind"]
        if (version, kind) in FOREIGN:
            continue
        schema = SCHEMA | {"$ref": f"#/$defs/{DEFINED[version]}.{kind}"}
        found = [
            f"{'.'.join(str(part) for part in error.absolute_path)}: {error.message}"
            for error in jsonschema.Draft7Validator(schema).iter_errors(each)
        ]
        assert not found, (kind, each["metadata"]["name"], found)


def test_the_schema_finds_a_misspelt_field(built: Built) -> None:
    """The check above checks: a field of another name in a container is refused."""
    workload = json.loads(json.dumps(built.workloads()["enrich"]))
    container(workload)["livenesProbe"] = {}  # type: ignore[index]
    schema = SCHEMA | {"$ref": f"#/$defs/{DEFINED['apps/v1']}.StatefulSet"}
    assert not jsonschema.Draft7Validator(schema).is_valid(workload)


def test_every_role_runs_as_the_command_line_has_it(built: Built) -> None:
    """One workload for each stage and one for the console, called by its name, and nothing else."""
    assert built.workloads().keys() == set(ROLES)
    for name, workload in built.workloads().items():
        assert container(workload)["args"] == [name, "--pipeline", "payments"]


def test_identity_where_it_matters(built: Built) -> None:
    """Stages with a name of their own are StatefulSets, named by their pods; the others are not."""
    for name, workload in built.workloads().items():
        sources = {e["name"]: e.get("valueFrom") for e in container(workload).get("env", [])}
        named = sources.get("ENRICHMENT_INSTANCE")
        if name in NAMED:
            assert workload["kind"] == "StatefulSet"
            assert named == {"fieldRef": {"fieldPath": "metadata.name"}}
            assert workload["spec"]["serviceName"] in built.named("Service")
        else:
            assert workload["kind"] == "Deployment"
            assert named is None


def test_selectors_take_their_own_pods_and_no_others(built: Built) -> None:
    """Of each workload, disruption budget and network policy, by the labels of all pods."""
    workloads = built.workloads()
    owners = [*workloads.values(), *built.named("PodDisruptionBudget").values()]
    for owner in owners:
        name, selector = owner["metadata"]["name"], owner["spec"]["selector"]
        taken = [each for each, w in workloads.items() if selects(selector, labels_of(w))]
        assert taken == [name]


def test_every_stage_may_be_disrupted_one_pod_at_a_time(built: Built) -> None:
    """A budget for each, that lets a drain go on."""
    budgets = built.named("PodDisruptionBudget")
    assert budgets.keys() == built.workloads().keys()
    assert all(each["spec"]["maxUnavailable"] == 1 for each in budgets.values())


def test_nothing_is_reached_but_what_is_named(built: Built) -> None:
    """Default deny both ways; each stage has a policy; the cache is for those that open it."""
    policies = built.named("NetworkPolicy")
    denied = policies.pop("nothing")["spec"]
    assert denied == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    policies.pop("names")
    assert policies.keys() == built.workloads().keys()
    for name, policy in policies.items():
        assert selects(policy["spec"]["podSelector"], labels_of(built.workloads()[name]))
        ways = policy["spec"]["ingress"] + policy["spec"]["egress"]
        # An empty `from` or `to`, or none, would be everybody.
        assert all((way.get("from") or way.get("to")) and way["ports"] for way in ways)
        reached = {
            to["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
            for way in policy["spec"]["egress"]
            for to in way["to"]
        }
        assert reached == ({"kafka", "redis"} if name in OPENS_CACHE else {"kafka"})


def test_every_pod_is_confined(built: Built) -> None:
    """Nobody special, nothing to write but /tmp, no way up, no token, memory bounded."""
    for workload in built.workloads().values():
        pod, stage = workload["spec"]["template"]["spec"], container(workload)
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] >= 10_000
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert pod["serviceAccountName"] in built.named("ServiceAccount")
        assert stage["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
        }
        assert stage["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in stage["resources"]["limits"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()


def test_the_user_is_the_images_own(built: Built) -> None:
    """Whom pods run as is whom the Dockerfile makes, so that a home and a group are there."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    for workload in built.workloads().values():
        user = workload["spec"]["template"]["spec"]["securityContext"]["runAsUser"]
        assert f"--uid {user} " in dockerfile


def test_a_stage_has_time_to_end(built: Built) -> None:
    """At least what stages are given on one machine."""
    for workload in built.workloads().values():
        assert workload["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= STOP_S


def test_what_is_referred_to_is_there(built: Built) -> None:
    """Config maps are among the manifests; a role's secrets are its own, and the cluster's CA."""
    maps = built.named("ConfigMap")
    for name, workload in built.workloads().items():
        assert set(references(workload, "configMap")) <= maps.keys()
        assert not set(references(workload, "secret")), "secrets are files"
        own = {f"enrichment-{name}-payments"} | ({name} if name in OPENS_CACHE else set())
        if name == "enrich":
            own.add("pseudonyms")
        assert {secret for secret, _ in secret_files(workload)} == own
    assert not built.of("Secret"), "a secret in a repository is none"


def test_each_role_is_its_own_user_of_kafka(production: Built) -> None:
    """The user that it says it is is among the users, with the password that is made for it."""
    users = production.named("KafkaUser")
    for name, workload in production.workloads().items():
        user = environment(production, workload)["ENRICHMENT_KAFKA_SASL_USER"]
        assert user == f"enrichment-{name}-payments"
        assert users[user]["metadata"]["namespace"] == "kafka"
        assert users[user]["spec"]["authentication"] == {"type": "scram-sha-512"}


def test_scalers_ask_as_the_stage_that_they_scale(production: Built) -> None:
    """By the user in its environment and that user's password."""
    authentications = production.named("TriggerAuthentication")
    assert authentications.keys() == production.named("ScaledObject").keys()
    for name, each in production.named("ScaledObject").items():
        assert each["spec"]["triggers"][0]["authenticationRef"] == {"name": name}
        told = authentications[name]["spec"]
        assert told["env"][0]["name"] == "ENRICHMENT_KAFKA_SASL_USER"
        secrets = {one["parameter"]: one["name"] for one in told["secretTargetRef"]}
        assert secrets == {"password": f"enrichment-{name}-payments", "ca": "kafka-cluster-ca-cert"}


def test_variables_are_settings(built: Built) -> None:
    """Each one that a stage is given is a field of the settings."""
    known = {f"ENRICHMENT_{name.upper()}" for name in Settings.model_fields}
    for workload in built.workloads().values():
        files = {file for _, file in secret_files(workload)}
        assert environment(built, workload).keys() | files <= known


def _started(
    built: Built, workload: Manifest, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """The settings that a pod would start with; secrets, CA and names are made up."""
    (folder / "ca.crt").write_text("made up")
    (folder / "secrets").mkdir()
    for _, name in secret_files(workload):
        (folder / "secrets" / name).write_text("8d1f03c4b79a526e")
    made_up = {
        "ENRICHMENT_SECRETS_DIR": str(folder / "secrets"),
        "ENRICHMENT_KAFKA_SSL_CA": str(folder / "ca.crt"),
        "ENRICHMENT_INSTANCE": f"{workload['metadata']['name']}-0",
    }
    for name, value in environment(built, workload).items():
        monkeypatch.setenv(name, made_up.get(name, value))
    return Settings()


@pytest.mark.parametrize("stage", ROLES)
def test_production_starts_with_them(
    production: Built, stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is refused but the shipped weights, which were fitted on a simulated stream."""
    settings = _started(production, production.workloads()[stage], tmp_path, monkeypatch)
    assert settings.profile.value == "production"
    found = breaches(settings, load("payments"), stage)
    refused = {each.rule for each in found if each.weight is Weight.REFUSED}
    assert refused == {"simulated_weights"}
    port = container(production.workloads()[stage])["ports"][0]["containerPort"]
    assert (str(settings.metrics_host), settings.metrics_port) == ("0.0.0.0", port)  # noqa: S104


def test_probes_ask_a_port_that_is_there(built: Built) -> None:
    """A stage's by the port of its metrics; the console's by its own, whose paths it answers."""
    for name, workload in built.workloads().items():
        stage = container(workload)
        ports = {port["name"]: port["containerPort"] for port in stage["ports"]}
        asked = {probe: stage[probe]["httpGet"] for probe in PROBES if probe in stage}
        assert all(each["port"] in ports for each in asked.values())
        if name == "console":
            paths = {each["path"] for each in asked.values()}
            table = (ROOT / "enrichment" / "console" / "endpoints.py").read_text()
            assert paths == set(re.findall(r'path="(/healthz/\w+)"', table))
            assert environment(built, workload)["ENRICHMENT_CONSOLE_PORT"] == str(ports["http"])
        else:
            metrics = {"path": "/metrics", "port": "metrics"}
            assert asked == {"startupProbe": metrics, "livenessProbe": metrics}


def test_images_are_pinned(production: Built) -> None:
    """The image is of this version, and of none that moves."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = {container(workload)["image"] for workload in production.workloads().values()}
    assert images == {f"enrichment:{version}"}


def test_lag_scales_what_lag_is_true_of(production: Built) -> None:
    """By the groups and topics that stages really have, and never beyond a topic's partitions."""
    topics = {each.name: each for each in load_manifests(ROOT / "topics")}
    scaled = production.named("ScaledObject")
    # The window stage's committed offsets trail by design.
    assert scaled.keys() == NAMED
    bootstrap = production.named("ConfigMap")["settings"]["data"]["ENRICHMENT_KAFKA_BOOTSTRAP"]
    for name, each in scaled.items():
        spec, target = each["spec"], production.workloads()[name]
        assert spec["scaleTargetRef"] == {
            "apiVersion": target["apiVersion"], "kind": target["kind"], "name": name,
        }  # fmt: skip
        assert "replicas" not in target["spec"], "two would tell how many there are"
        (trigger,) = spec["triggers"]
        told = trigger["metadata"]
        assert trigger["type"] == "kafka"
        assert told.keys() == KEDA_METADATA
        assert all(isinstance(value, str) for value in told.values())
        assert told["bootstrapServers"] == bootstrap
        assert told["consumerGroup"] == f"enrichment.{name}.payments"
        assert 1 <= spec["minReplicaCount"] <= spec["maxReplicaCount"]
        assert spec["maxReplicaCount"] <= topics[told["topic"]].partitions


def test_every_pod_is_scraped_as_compose_scrapes_it(production: Built) -> None:
    """By its named port, under the job and the label of its stage that rules and dashboards ask."""
    (monitor,) = production.of("PodMonitor")
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    job = config["scrape_configs"][0]
    for workload in production.workloads().values():
        labels = labels_of(workload)
        assert selects(monitor["spec"]["selector"], labels)
        assert labels[monitor["spec"]["jobLabel"]] == job["job_name"]
        (asked,) = monitor["spec"]["podMetricsEndpoints"]
        assert asked["port"] in {port["name"] for port in container(workload)["ports"]}
        (told,) = asked["relabelings"]
        assert told["targetLabel"] in job["static_configs"][0]["labels"]
        assert told["sourceLabels"] == ["__meta_kubernetes_pod_label_app_kubernetes_io_component"]
        assert labels["app.kubernetes.io/component"] == workload["metadata"]["name"]


@pytest.mark.parametrize(
    ("stage", "source"),
    [
        ("enrich", "wiring/stages.py"),
        ("project", "wiring/stages.py"),
        ("sample", "sample/ledger.py"),
    ],
)
def test_groups_are_named_as_scalers_have_it(stage: str, source: str) -> None:
    """Where a stage joins its group, the name is the one that its scaler asks for."""
    text = (ROOT / "enrichment" / source).read_text()
    assert re.search(rf'group[._]id"?(=|: )f"enrichment\.{stage}\.{{[^}}]*}}"', text)


def test_production_topics_outlive_a_broker(production: Built) -> None:
    """Every topic of topics/, with three replicas and two in sync, in the cluster's namespace."""
    built = {
        topic.name: topic
        for each in production.of("KafkaTopic")
        for topic in parse_manifests(yaml.safe_dump(each).encode(), "built")
    }
    shipped = {each.name: each for each in load_manifests(ROOT / "topics")}
    assert built.keys() == shipped.keys()
    for name, topic in built.items():
        assert (topic.replicas, topic.config["min.insync.replicas"]) == (3, "2")
        rest = {key: value for key, value in topic.config.items() if "insync" not in key}
        assert rest.items() <= shipped[name].config.items()
        assert topic.partitions == shipped[name].partitions
    assert {each["metadata"]["namespace"] for each in production.of("KafkaTopic")} == {"kafka"}
