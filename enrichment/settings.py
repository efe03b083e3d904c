"""The settings of a process, from the environment: read once, by `__main__`."""

from enum import Enum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated

from pydantic import Field, IPvAnyAddress, PlainSerializer, PlainValidator, SecretStr
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from enrichment.feature.address import Address
from enrichment.profile import Profile


class Delivery(Enum):
    """What the hot path promises about its outputs."""

    EXACTLY_ONCE = "exactly_once"
    AT_LEAST_ONCE = "at_least_once"


def _address(value: object) -> Address:
    return value if isinstance(value, Address) else Address.parse(str(value))


# Shown without its password wherever settings are shown.
RedisUrl = Annotated[Address, NoDecode, PlainValidator(_address), PlainSerializer(str)]


class Settings(BaseSettings):
    """Where the servers are and how a process behaves: `ENRICHMENT_<NAME>` for each field."""

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
    log_text: bool = Field(default=False, description="Logs as text instead of JSON")
    metrics_port: int | None = Field(
        default=None, ge=1, le=65_535, description="Serve Prometheus metrics on this port"
    )
    metrics_host: IPvAnyAddress = Field(
        default=IPv4Address("127.0.0.1"),
        validate_default=True,
        description="At this address; 0.0.0.0 in a container that is scraped from outside of it",
    )
