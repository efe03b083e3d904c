"""A Kafka and a Redis that ask who comes, a stream on them, and a user for each role."""

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient, NewTopic

from enrichment.access import SHARED, Role, access_of, user_of
from enrichment.lab.certificates import Authority
from enrichment.lab.kafka_server import KafkaServer
from enrichment.lab.ports import free_port
from enrichment.lab.secured_kafka import Secured
from enrichment.settings import Settings
from enrichment.stream.manifests import load_manifests
from enrichment.stream.users import bindings
from tests.feature import deployments
from tests.integration.stages import ROOT, Stream
from tests.servers import LIBS_DIR


@dataclass
class Guarded:
    """Servers, an authority that they do not trust, and what each role says to be let in."""

    folder: Path
    secured: Secured
    kafka: KafkaServer
    redis: deployments.Deployment
    foreign: Authority
    stream: Stream
    passwords: dict[str, str] = field(default_factory=dict)

    @classmethod
    def start(cls, folder: Path) -> "Guarded":
        """Everything up, users and their rules made. Whoever calls ends the processes."""
        secured = Secured.make(folder / "tls", free_port())
        kafka = KafkaServer(
            state_dir=folder / "kafka",
            port=free_port(span=2),
            libs_dir=LIBS_DIR,
            tied=True,
            brief=True,
            secured=secured,
        )
        kafka.start(within_s=60)
        admin = AdminClient(secured.administrator())
        wanted = [
            NewTopic(each.name, each.partitions, 1, config=dict(each.config))
            for each in load_manifests(ROOT / "topics")
            if each.name in SHARED
        ]
        for future in admin.create_topics(wanted).values():
            future.result(30)
        stream = Stream(
            folder,
            like="payments",
            bootstrap=kafka.address,
            redis_url="",
            client=secured.administrator(),
        )
        redis = deployments.tls(folder / "redis")
        made = cls(
            folder=folder,
            secured=secured,
            kafka=kafka,
            redis=redis,
            foreign=Authority.make(folder / "foreign"),
            stream=stream,
            passwords={user_of(role, stream.name): secrets.token_hex(12) for role in Role},
        )
        rules = [
            binding
            for role in Role
            for binding in bindings(
                user_of(role, stream.name), access_of(role, stream.name).rules()
            )
        ]
        secured.let_in(made.passwords, rules)
        with redis.servers[0].client() as client:
            deployments.users(client)
            client.execute_command("ACL", "SETUSER", "default", "off")
        return made

    def variables(self, role: Role) -> dict[str, str]:
        """What a process of that role finds in its environment; passwords are in files."""
        user = user_of(role, self.stream.name)
        files = self.folder / f"secrets-{role.value}"
        files.mkdir(exist_ok=True)
        (files / "ENRICHMENT_KAFKA_SASL_PASSWORD").write_text(f"{self.passwords[user]}\n")
        (files / "ENRICHMENT_REDIS_PASSWORD").write_text("p@ss/w:rd\n")
        return {
            "ENRICHMENT_KAFKA_BOOTSTRAP": self.kafka.address,
            "ENRICHMENT_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "ENRICHMENT_KAFKA_SASL_USER": user,
            "ENRICHMENT_KAFKA_SSL_CA": str(self.secured.authority.certificate),
            "ENRICHMENT_REDIS_URL": self.redis_url(role.value),
            "ENRICHMENT_SECRETS_DIR": str(files),
        }

    def settings(self, role: Role, **changes: Any) -> Settings:
        """The same as settings, with what is changed."""
        told = {
            name.removeprefix("ENRICHMENT_").lower(): value
            for name, value in self.variables(role).items()
        }
        return Settings(**(told | {"pipelines_dir": self.folder} | changes))

    def redis_url(self, user: str) -> str:
        """Where Redis is for that user: its password is not in it."""
        return self.redis.url.replace("rediss://", f"rediss://{user}@")

    def close(self) -> None:
        """End everything."""
        self.stream.close()
        self.kafka.process.stop()
        for server in self.redis.servers:
            server.kill()
