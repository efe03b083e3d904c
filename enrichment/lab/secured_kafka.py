"""What makes a lone broker ask who comes and what he may: TLS everywhere, SCRAM, and rules.

Clients with a password come to the broker's own port (SASL_SSL, SCRAM-SHA-512); clients with a
certificate come to `mutual_port` (SSL), as the broker itself and its controller do. Nobody is let
in without one of the two, and nobody may do what no rule allows, but for the broker and `admin`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from confluent_kafka.admin import (
    AclBinding,
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from enrichment.lab.certificates import Authority, Certificate
from enrichment.lab.ports import LOOPBACK
from enrichment.stream.security import Security, SecurityProtocol

BROKER: Final = "broker"
ADMIN: Final = "admin"
ITERATIONS: Final = 4_096  # of SCRAM's hash: the least that Kafka takes, since tests log in often
CALL_S: Final = 20.0

# A certificate's name is its user's, so that one set of rules is for both ways in.
PROPERTIES: Final = """\
listeners=CLIENT://{host}:{port},MUTUAL://{host}:{mutual_port},CONTROLLER://{host}:{controller_port}
advertised.listeners=CLIENT://{host}:{port},MUTUAL://{host}:{mutual_port}
inter.broker.listener.name=MUTUAL
listener.security.protocol.map=CLIENT:SASL_SSL,MUTUAL:SSL,CONTROLLER:SSL
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={authority}
listener.name.client.ssl.client.auth=none
listener.name.mutual.ssl.client.auth=required
listener.name.controller.ssl.client.auth=required
ssl.principal.mapping.rules=RULE:^CN=(.*?)$/$1/
listener.name.client.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.client.scram-sha-512.sasl.jaas.config=\\
org.apache.kafka.common.security.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:{broker};User:{admin}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Secured:
    """The authority that everybody trusts, and the port for those with a certificate."""

    authority: Authority
    mutual_port: int
    broker: Certificate
    admin: Certificate

    @classmethod
    def make(cls, folder: Path, mutual_port: int) -> "Secured":
        """With new certificates, in that folder. Raises ServerError."""
        authority = Authority.make(folder)
        return cls(
            authority=authority,
            mutual_port=mutual_port,
            broker=authority.issue(BROKER),
            admin=authority.issue(ADMIN),
        )

    def properties(self, port: int, controller_port: int) -> str:
        """The lines of its server.properties that say where it listens and whom it lets in."""
        return PROPERTIES.format(
            host=LOOPBACK,
            port=port,
            mutual_port=self.mutual_port,
            controller_port=controller_port,
            keystore=self.broker.keystore,
            authority=self.authority.certificate,
            broker=BROKER,
            admin=ADMIN,
        )

    def administrator(self) -> dict[str, Any]:
        """What a client is told that may do everything."""
        return self.with_certificate(self.admin)

    def with_certificate(self, certificate: Certificate) -> dict[str, Any]:
        """What a client is told that is known by a certificate."""
        security = Security(
            protocol=SecurityProtocol.SSL,
            ca=str(self.authority.certificate),
            certificate=str(certificate.certificate),
            key=str(certificate.key),
        )
        where = f"{LOOPBACK}:{self.mutual_port}"
        return {"bootstrap.servers": where, "log_level": 0, **security.librdkafka()}

    def let_in(self, passwords: Mapping[str, str], rules: Iterable[AclBinding]) -> None:
        """Make these users, with their passwords, and these rules. Raises KafkaException."""
        admin = AdminClient(self.administrator())
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, ITERATIONS)
        users = admin.alter_user_scram_credentials(
            [
                UserScramCredentialUpsertion(user, info, password.encode())
                for user, password in passwords.items()
            ]
        )
        for future in (*users.values(), *admin.create_acls(list(rules)).values()):
            future.result(CALL_S)
