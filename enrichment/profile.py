"""Settings profiles: what suits a laptop, and is refused or warned of where others depend on it.

Rules are of what settings and a pipeline's file alone say: each start of a stage asks them, without
any server. What only servers know (replicas, retention, eviction) is `enrichment preflight`'s.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from enrichment.feature.address import Address, Kind

if TYPE_CHECKING:
    from enrichment.pipelines import Pipeline
    from enrichment.settings import Settings

PUBLIC_KEYS: Final = frozenset(
    {
        "0123456789abcdef",
        "change-me-change-me",
        "changemechangeme",
        "secret-of-at-least-16-characters",
    }
)
"""Keys that tests, documents and templates show: whoever reads them can undo the pseudonyms."""

KEY_CHARACTERS_MIN: Final = 6
"""A key of fewer different characters was typed to satisfy a length, and not drawn."""

OF_CACHE: Final = ("enrich", "project", "sample")
"""Stages that open the feature cache's server: others are not asked how."""


class Profile(Enum):
    """What a process is for: the later, the less is let pass."""

    DEVELOPMENT = "development"
    VALIDATION = "validation"
    PRODUCTION = "production"

    def reaches(self, other: "Profile") -> bool:
        """Whether this one is as strict as the other, or stricter."""
        order = list(Profile)
        return order.index(self) >= order.index(other)


class Weight(Enum):
    """What a broken rule does to the start of a stage."""

    ALLOWED = "allowed"
    WARNED = "warned of"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing that suits development alone: `found` says how settings break it, or ""."""

    name: str
    # What is not to be, as the table in docs/preflight.md says it.
    what: str
    todo: str
    validation: Weight
    production: Weight
    found: Callable[["Settings", "Pipeline"], str]
    development: Weight = Weight.ALLOWED
    # The stages that it is of; none: all of them. A key is for those that use it alone.
    stages: tuple[str, ...] = ()
    # A secret that is missing or known: preflight asks for these by themselves.
    secret: bool = False

    def weight(self, profile: Profile) -> Weight:
        """What it does under a profile."""
        return {
            Profile.DEVELOPMENT: self.development,
            Profile.VALIDATION: self.validation,
            Profile.PRODUCTION: self.production,
        }[profile]


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """One rule that these settings break, and what that means under their profile."""

    rule: str
    weight: Weight
    found: str
    todo: str
    secret: bool

    @property
    def line(self) -> str:
        """What was found and what to do."""
        return f"{self.found}: {self.todo}"


def _pseudonym_missing(settings: "Settings", pipeline: "Pipeline") -> str:
    if not pipeline.stream.sensitive or settings.pseudonym_key is not None:
        return ""
    return f"{pipeline.name} has sensitive fields, and there is no key for their pseudonyms"


def _pseudonym_known(settings: "Settings", pipeline: "Pipeline") -> str:
    if not pipeline.stream.sensitive or settings.pseudonym_key is None:
        return ""
    key = settings.pseudonym_key.get_secret_value()
    if key.lower() in PUBLIC_KEYS:
        return "the pseudonyms' key is one that stands in documents"
    if len(set(key)) < KEY_CHARACTERS_MIN:
        return f"the pseudonyms' key has fewer than {KEY_CHARACTERS_MIN} different characters"
    return ""


def _redis_open(settings: "Settings", _: "Pipeline") -> str:
    address = settings.redis_url
    given = settings.redis_password is not None or address.login.password
    # Who may open a socket is the file system's to say.
    if given or address.kind is Kind.SOCKET:
        return ""
    return "the feature cache is read and written without a password"


def _redis_in_url(settings: "Settings", _: "Pipeline") -> str:
    # A sentinel's password has no other place than the URL.
    return "a password stands in ENRICHMENT_REDIS_URL" if settings.redis_url.login.password else ""


def _redis_plain(settings: "Settings", _: "Pipeline") -> str:
    address = settings.redis_url
    if address.tls is not None or all(_loopback(host) for host, _ in address.hosts):
        return ""
    return "features and the cache's password cross the network in the clear"


def _registry_plain(settings: "Settings", _: "Pipeline") -> str:
    url = settings.schema_registry_url or ""
    host = url.partition("://")[2]
    if settings.schema_registry_user is None or not url.startswith("http://") or _loopback(host):
        return ""
    return "the schema registry's password crosses the network in the clear"


def _kafka_plain(settings: "Settings", _: "Pipeline") -> str:
    if all(_loopback(each.strip()) for each in settings.kafka_bootstrap.split(",")):
        return ""
    security = settings.kafka_security
    if security.protocol.value == "PLAINTEXT":
        return "Kafka is spoken to in the clear and without a login"
    return "" if security.logs_in else "Kafka is spoken to without a login"


def _local_kafka(settings: "Settings", _: "Pipeline") -> str:
    left = settings.kafka_bootstrap == type(settings).model_fields["kafka_bootstrap"].default
    return "Kafka is the one that `enrichment up` starts" if left else ""


def _local_redis(settings: "Settings", _: "Pipeline") -> str:
    default: Address = type(settings).model_fields["redis_url"].default
    # A password that was put into the URL makes it no other server.
    left = settings.redis_url.hosts == default.hosts
    return "Redis is the one that `enrichment up` starts" if left else ""


def _log_text(settings: "Settings", _: "Pipeline") -> str:
    return "logs are text, which no collector takes apart" if settings.log_text else ""


def _at_least_once(settings: "Settings", _: "Pipeline") -> str:
    if settings.delivery.value == "exactly_once":
        return ""
    return "delivery is at_least_once: after a crash, outputs and digests may come twice"


def _random_provider(_: "Settings", pipeline: "Pipeline") -> str:
    if pipeline.sampling.provider != "random":
        return ""
    return f"{pipeline.name} is sampled by `random`, the null that others are compared with"


def _virtual_provider(_: "Settings", pipeline: "Pipeline") -> str:
    if pipeline.sampling.provider != "virtual":
        return ""
    return f"{pipeline.name} is sampled by `virtual`: a simulator with a device's published noise"


def _noise_scaled(settings: "Settings", _: "Pipeline") -> str:
    scale = settings.virtual_noise_scale
    return "" if scale == 1.0 else f"the virtual device's noise is scaled by {scale:g}"


def _simulated_weights(_: "Settings", pipeline: "Pipeline") -> str:
    provenance = pipeline.score.provenance
    if provenance is None or not provenance.simulated:
        return ""
    return f"score table {pipeline.score.version} was fitted on a simulated stream"


_A, _W, _R = Weight.ALLOWED, Weight.WARNED, Weight.REFUSED

# Without its key a stage that pseudonymises cannot run at all, whatever it is for.
RULES: Final = (
    Rule(
        name="pseudonym_key", what="sensitive fields without a key for their pseudonyms",
        todo="set ENRICHMENT_PSEUDONYM_KEY, the same for every process",
        development=_R, validation=_R, production=_R, secret=True, stages=("enrich",),
        found=_pseudonym_missing,
    ),
    Rule(
        name="pseudonym_known", what="a pseudonyms' key that is an example, or hardly a secret",
        todo="draw one (`openssl rand -hex 32`); pseudonyms of before will not match it",
        validation=_R, production=_R, secret=True, stages=("enrich",),
        found=_pseudonym_known,
    ),
    Rule(
        name="redis_password", what="a feature cache without a password (a socket needs none)",
        todo="set ENRICHMENT_REDIS_PASSWORD, or speak to it over a socket (unix://)",
        validation=_W, production=_R, secret=True, stages=OF_CACHE,
        found=_redis_open,
    ),
    Rule(
        name="redis_password_in_url", what="the feature cache's password in its URL",
        todo="take it out and set ENRICHMENT_REDIS_PASSWORD: URLs are copied, and shown by `ps`",
        validation=_W, production=_R, secret=True, stages=OF_CACHE,
        found=_redis_in_url,
    ),
    Rule(
        name="registry_plain", what="the schema registry's password over http://, but to loopback",
        todo="use https:// in ENRICHMENT_SCHEMA_REGISTRY_URL",
        validation=_R, production=_R, secret=True, found=_registry_plain,
    ),
    Rule(
        name="redis_plain", what="a feature cache without TLS, but on loopback or a socket",
        todo="use rediss:// in ENRICHMENT_REDIS_URL, or keep it in a network of its own",
        validation=_W, production=_W, stages=OF_CACHE,
        found=_redis_plain,
    ),
    Rule(
        name="kafka_plain", what="Kafka without TLS or without a login, but on loopback",
        todo="set ENRICHMENT_KAFKA_SECURITY_PROTOCOL=SASL_SSL with a user and a password, or SSL "
        "with a certificate (docs/security.md)",
        validation=_W, production=_R, found=_kafka_plain,
    ),
    Rule(
        name="local_kafka", what="Kafka where `enrichment up` starts it",
        todo="say in ENRICHMENT_KAFKA_BOOTSTRAP where your brokers are",
        validation=_W, production=_R, found=_local_kafka,
    ),
    Rule(
        name="local_redis", what="Redis where `enrichment up` starts it",
        todo="say in ENRICHMENT_REDIS_URL where your cache is",
        validation=_W, production=_R, stages=OF_CACHE, found=_local_redis,
    ),
    Rule(
        name="log_text", what="logs as text instead of JSON",
        todo="unset ENRICHMENT_LOG_TEXT",
        validation=_W, production=_R, found=_log_text,
    ),
    Rule(
        name="at_least_once", what="delivery at least once",
        todo="set ENRICHMENT_DELIVERY=exactly_once, unless every reader compares `ce_id`",
        validation=_W, production=_W, stages=("enrich",),
        found=_at_least_once,
    ),
    Rule(
        name="random_provider", what="`random` as the provider that is asked first",
        todo="name another provider in its file, under [sampling]",
        validation=_R, production=_R, found=_random_provider,
    ),
    Rule(
        name="virtual_provider", what="`virtual` as the provider that is asked first",
        todo="name `qsim` or a device in its file, under [sampling]; spot checks may stay",
        validation=_W, production=_R, found=_virtual_provider,
    ),
    Rule(
        name="noise_scaled", what="a noise scale of the virtual device other than 1",
        todo="unset ENRICHMENT_VIRTUAL_NOISE_SCALE",
        validation=_W, production=_R, found=_noise_scaled,
    ),
    Rule(
        name="simulated_weights", what="a score table that was fitted on a simulated stream",
        todo="make one of your own stream with `enrichment fit`, and name it under [score]",
        validation=_W, production=_R, found=_simulated_weights,
    ),
)  # fmt: skip


def breaches(settings: "Settings", pipeline: "Pipeline", *stages: str) -> tuple[Breach, ...]:
    """Every rule that these settings break, whatever it weighs under their profile.

    Of these stages, or of all where none is named.
    """
    return tuple(
        Breach(
            rule=rule.name,
            weight=rule.weight(settings.profile),
            found=found,
            todo=rule.todo,
            secret=rule.secret,
        )
        for rule in RULES
        if not (stages and rule.stages and set(stages).isdisjoint(rule.stages))
        and (found := rule.found(settings, pipeline))
    )


def table() -> Iterator[str]:
    """The rules as lines of a Markdown table: what each profile does with each."""
    yield "| rule | what it is about | stages | " + " | ".join(p.value for p in Profile) + " |"
    yield "|---|---|---|---|---|---|"
    for rule in RULES:
        weights = " | ".join(rule.weight(each).value for each in Profile)
        yield f"| `{rule.name}` | {rule.what} | {', '.join(rule.stages) or 'all'} | {weights} |"


def _loopback(place: str) -> bool:
    """Whether a host, or a host and its port, is this machine: never by looking a name up."""
    host = urlsplit(f"//{place}").hostname or place
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
