"""The settings of a process, from the environment or files: read once, by `__main__`."""

import os
from enum import Enum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import (
    DirectoryPath,
    Field,
    FilePath,
    IPvAnyAddress,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from enrichment.feature.address import Address
from enrichment.profile import Profile
from enrichment.stream.security import Mechanism, Security, SecurityProtocol

SECRETS_DIR: Final = "ENRICHMENT_SECRETS_DIR"


class Delivery(Enum):
    """What the hot path promises about its outputs."""

    EXACTLY_ONCE = "exactly_once"
    AT_LEAST_ONCE = "at_least_once"


class Traces(Enum):
    """Where spans go."""

    NONE = "none"
    CONSOLE = "console"
    OTLP = "otlp"


def _address(value: object) -> Address:
    return value if isinstance(value, Address) else Address.parse(str(value))


# Shown without its password wherever settings are shown.
RedisUrl = Annotated[Address, NoDecode, PlainValidator(_address), PlainSerializer(str)]


class Settings(BaseSettings):
    """Where the servers are and how a process behaves: `ENRICHMENT_<NAME>` for each field.

    Each may also be a file of that name in the folder `ENRICHMENT_SECRETS_DIR`, as orchestrators
    mount secrets; what the environment says comes first.
    """

    model_config = SettingsConfigDict(
        env_prefix="ENRICHMENT_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    profile: Profile = Field(
        default=Profile.DEVELOPMENT,
        description="What the process is for: production refuses to start with what only suits "
        "development; see docs/preflight.md",
    )
    kafka_bootstrap: str = Field(
        default="127.0.0.1:19092", description="Kafka brokers, host:port, separated by commas"
    )
    kafka_security_protocol: SecurityProtocol = Field(
        default=SecurityProtocol.PLAINTEXT,
        description="PLAINTEXT, SSL (with a certificate: mutual TLS) or SASL_SSL; see "
        "docs/security.md",
    )
    kafka_sasl_mechanism: Mechanism = Field(
        default=Mechanism.SCRAM_SHA_512, description="SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN"
    )
    kafka_sasl_user: str = Field(default="", description="Who we are to Kafka")
    kafka_sasl_password: SecretStr | None = Field(default=None, description="The user's password")
    kafka_ssl_ca: FilePath | None = Field(
        default=None,
        description="The CA certificates (PEM) that brokers are trusted by; without them, the "
        "system's",
    )
    kafka_ssl_certificate: FilePath | None = Field(
        default=None, description="Our certificate (PEM), where brokers know us by it"
    )
    kafka_ssl_key: FilePath | None = Field(default=None, description="Its private key (PEM)")
    kafka_ssl_key_password: SecretStr | None = Field(
        default=None, description="The password of that key, where it has one"
    )
    secrets_dir: DirectoryPath | None = Field(
        default=None,
        description="A folder with settings as files, `ENRICHMENT_KAFKA_SASL_PASSWORD` and so on; "
        "the environment comes first",
    )
    redis_url: RedisUrl = Field(
        default=Address.parse("redis://127.0.0.1:16379/0"),
        description="The feature cache: redis://, rediss://, unix://, redis+sentinel://, "
        "redis+cluster://; see docs/feature-cache.md",
    )
    redis_password: SecretStr | None = Field(
        default=None, description="The cache's password, where the URL is to hold none"
    )
    state_dir: Path = Field(
        default=Path(".state"), description="Where local servers and processes keep their state"
    )
    pipelines_dir: Path | None = Field(
        default=None,
        description="A folder with pipeline files of your own, before the shipped ones",
    )
    topics_dir: Path = Field(default=Path("topics"), description="The topic manifests")
    delivery: Delivery = Field(default=Delivery.EXACTLY_ONCE, description="The hot path's promise")
    batch_events_max: int = Field(default=2_000, gt=0, le=100_000, description="Events per batch")
    batch_ms_max: int = Field(default=10, gt=0, le=1_000, description="How long a batch may fill")
    read_timeout_ms: int = Field(default=20, gt=0, le=1_000, description="The cache read's timebox")
    cache_tracking: bool = Field(
        default=True,
        description="Let Redis tell what has changed, and read that alone; else everything is read",
    )
    sampler_processes: int = Field(
        default=1, gt=0, le=64, description="Spawned processes for circuits"
    )
    google_project: str = Field(
        default="",
        description="The Google Cloud project of the `google` provider; credentials are found by "
        "Google's client library (Application Default Credentials)",
    )
    google_processor: str = Field(default="", description="Its processor's id")
    google_run_name: str = Field(
        default="", description="Its automation run; only together with the device's configuration"
    )
    google_device_config: str = Field(default="", description="Its device's configuration")
    google_price_per_shot: float = Field(
        default=0.0, ge=0.0, description="What a shot is taken to cost, in the bill's currency"
    )
    ionq_api_key: SecretStr | None = Field(
        default=None, description="The key of the `ionq` provider at IonQ"
    )
    ionq_url: str = Field(
        default="https://api.ionq.co",
        description="Where its API is; https:// alone, or a loopback address",
    )
    ionq_target: str = Field(
        default="simulator",
        pattern=r"^(simulator|qpu(\.[a-z0-9-]+)?)$",
        description="Its target: simulator, or qpu.<device>",
    )
    ionq_noise_model: str = Field(
        default="", description="The device whose noise its simulator has; without one it is ideal"
    )
    ionq_price_per_shot: float = Field(
        default=0.0, ge=0.0, description="What a shot is taken to cost, in the bill's currency"
    )
    virtual_noise_scale: float = Field(
        default=1.0,
        ge=0.0,
        le=100.0,
        description="Lab only: so many times its noise has the `virtual` provider's device, which "
        "is thereby another device, under another calibration id",
    )
    budget_day: float | None = Field(
        default=None,
        ge=0.0,
        description="What all pipelines together may spend at providers in a UTC day; a pipeline's "
        "own limit is in its file",
    )
    budget_providers: dict[str, Annotated[float, Field(ge=0.0)]] = Field(
        default={},
        description='What may be spent at each provider in a UTC day, as JSON: {"ionq": 20}',
    )
    kept_answers_s: int = Field(
        default=86_400,
        ge=0,
        le=604_800,
        description="How long answers of devices are kept in Redis, so that no circuit is paid for "
        "twice under one calibration; 0: none is",
    )
    instance: str = Field(
        default="0",
        pattern=r"^[A-Za-z0-9_.-]{1,60}$",
        description="This process among those of its stage: no two may bear the same name",
    )
    pseudonym_key: SecretStr | None = Field(
        default=None, min_length=16, description="The key of sensitive values' pseudonyms"
    )
    schema_registry_url: str | None = Field(
        default=None,
        pattern=r"^(https?|mock)://[^@]*$",
        description="A schema registry (http:// or https://): values are then framed with their "
        "schema's id; without one they are plain JSON",
    )
    schema_registry_user: str | None = Field(default=None, description="Its user")
    schema_registry_password: SecretStr | None = Field(default=None, description="Its password")
    schema_registry_ca: Path | None = Field(
        default=None, description="The CA certificates, a file or a folder, that it is trusted by"
    )
    console_host: str = Field(
        default="127.0.0.1", description="The address that the console listens on"
    )
    console_port: int = Field(default=8180, ge=0, le=65_535, description="Its port; 0: a free one")
    console_hosts: list[str] = Field(
        default=["localhost", "127.0.0.1", "::1"],
        description='The names that it may be called by, without ports, as JSON; ["*"]: any, for '
        "a proxy that checks them",
    )
    console_token: SecretStr | None = Field(
        default=None,
        min_length=16,
        max_length=512,
        description="Whoever knows it may act in the console; without it the console only reads",
    )
    log_text: bool = Field(default=False, description="Logs as text instead of JSON")
    metrics_port: int | None = Field(
        default=None, ge=1, le=65_535, description="Serve Prometheus metrics on this port"
    )
    metrics_host: IPvAnyAddress = Field(
        default=IPv4Address("127.0.0.1"),
        validate_default=True,
        description="At this address; 0.0.0.0 in a container that is scraped from outside of it",
    )
    traces: Traces = Field(
        default=Traces.NONE,
        description="Where spans go: none; console, which writes each as a line of JSON to "
        "standard error; or otlp, to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # none is read
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  # of no folder
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment, then files of the folder that it names."""
        given = init_settings.init_kwargs if isinstance(init_settings, InitSettingsSource) else {}
        folder = given.get("secrets_dir") or os.environ.get(SECRETS_DIR)
        # One that is not there is an error of its field's, and not a warning.
        if not folder or not Path(folder).is_dir():
            return init_settings, env_settings
        return init_settings, env_settings, SecretsSettingsSource(settings_cls, secrets_dir=folder)

    @model_validator(mode="after")
    def _kafka_is_asked_for_what_is_given(self) -> Self:
        """Refuse what would be passed over: whoever sets a password believes that it is asked."""
        name = "ENRICHMENT_KAFKA_SECURITY_PROTOCOL"
        login = bool(self.kafka_sasl_user or self.kafka_sasl_password)
        files = (self.kafka_ssl_ca, self.kafka_ssl_certificate, self.kafka_ssl_key)
        protocol = self.kafka_security_protocol
        if login and protocol is not SecurityProtocol.SASL_SSL:
            raise ValueError(
                f"ENRICHMENT_KAFKA_SASL_USER and _PASSWORD are for {name}=SASL_SSL, and it is "
                f"{protocol.value}: nobody would ask for them"
            )
        if any(files) and protocol is SecurityProtocol.PLAINTEXT:
            raise ValueError(
                f"ENRICHMENT_KAFKA_SSL_* are for {name}=SSL or SASL_SSL, and it is PLAINTEXT: "
                "nothing would be encrypted"
            )
        if protocol is SecurityProtocol.SASL_SSL and not (
            self.kafka_sasl_user and self.kafka_sasl_password
        ):
            raise ValueError(
                f"{name}=SASL_SSL needs ENRICHMENT_KAFKA_SASL_USER and ENRICHMENT_KAFKA_SASL_"
                "PASSWORD (the password may be a file in ENRICHMENT_SECRETS_DIR)"
            )
        if bool(self.kafka_ssl_certificate) is not bool(self.kafka_ssl_key):
            raise ValueError(
                "ENRICHMENT_KAFKA_SSL_CERTIFICATE and ENRICHMENT_KAFKA_SSL_KEY go together, and "
                "one of them is missing"
            )
        return self

    @property
    def kafka_security(self) -> Security:
        """What Kafka clients are told of the way to their brokers."""
        return Security(
            protocol=self.kafka_security_protocol,
            mechanism=self.kafka_sasl_mechanism,
            user=self.kafka_sasl_user,
            password=_secret(self.kafka_sasl_password),
            ca=_path(self.kafka_ssl_ca),
            certificate=_path(self.kafka_ssl_certificate),
            key=_path(self.kafka_ssl_key),
            key_password=_secret(self.kafka_ssl_key_password),
        )


def _secret(value: SecretStr | None) -> str:
    return "" if value is None else value.get_secret_value()


def _path(value: Path | None) -> str:
    return "" if value is None else str(value)
