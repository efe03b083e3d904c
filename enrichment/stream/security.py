"""How a Kafka client proves who it is and asks the broker for the same: one record, two clients.

librdkafka and aiokafka are told the same things in different words, and both from here. The
broker's certificate must always bear the name that it was asked by: there is no setting that turns
that off.
"""

import ssl
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final


class SecurityProtocol(Enum):
    """What stands between us and the broker, as Kafka names it.

    There is no SASL_PLAINTEXT: a login in the clear is one for everybody on the way.
    """

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_SSL = "SASL_SSL"


class Mechanism(Enum):
    """How a user and a password are said. SCRAM never sends the password; PLAIN does, under TLS."""

    SCRAM_SHA_512 = "SCRAM-SHA-512"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    PLAIN = "PLAIN"


class Hidden(str):
    """A text that no `repr` shows, for passwords in dicts that clients are made from.

    Dicts of a client's configuration are parts of records, and are shown by traces: there, this is.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'**********'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """What a client is told of the way to its broker. Paths are of PEM files."""

    protocol: SecurityProtocol = SecurityProtocol.PLAINTEXT
    mechanism: Mechanism = Mechanism.SCRAM_SHA_512
    user: str = ""
    password: str = field(default="", repr=False)
    # The authorities that may vouch for the broker; "": those of the system.
    ca: str = ""
    # Ours, where the broker wants to know us by it.
    certificate: str = ""
    key: str = ""
    key_password: str = field(default="", repr=False)

    @property
    def logs_in(self) -> bool:
        """Whether the broker is told who asks."""
        return self.protocol is SecurityProtocol.SASL_SSL or bool(self.certificate)

    def librdkafka(self) -> dict[str, Any]:
        """The same for a client of confluent-kafka; nothing where nothing is protected."""
        if self.protocol is SecurityProtocol.PLAINTEXT:
            return {}
        told: dict[str, Any] = {
            "security.protocol": self.protocol.value,
            # The default since librdkafka 2.0, and not to be one that a release may change.
            "ssl.endpoint.identification.algorithm": "https",
            "ssl.ca.location": self.ca,
            "ssl.certificate.location": self.certificate,
            "ssl.key.location": self.key,
            "ssl.key.password": Hidden(self.key_password),
        }
        if self.protocol is SecurityProtocol.SASL_SSL:
            told |= {
                "sasl.mechanism": self.mechanism.value,
                "sasl.username": self.user,
                "sasl.password": Hidden(self.password),
            }
        return {name: value for name, value in told.items() if value}

    def aiokafka(self) -> dict[str, Any]:
        """The same for a client of aiokafka. Raises OSError, ssl.SSLError for files of no use."""
        if self.protocol is SecurityProtocol.PLAINTEXT:
            return {}
        told = {"security_protocol": self.protocol.value, "ssl_context": self.context()}
        if self.protocol is SecurityProtocol.SASL_SSL:
            told |= {
                "sasl_mechanism": self.mechanism.value,
                "sasl_plain_username": self.user,
                "sasl_plain_password": Hidden(self.password),
            }
        return told

    def context(self) -> ssl.SSLContext:
        """The files as Python's TLS has them. Raises OSError, ssl.SSLError for files of no use."""
        context = ssl.create_default_context(cafile=self.ca or None)
        if self.certificate:
            context.load_cert_chain(self.certificate, self.key, self.key_password or None)
        return context


PLAIN: Final = Security()
"""Nothing is protected: servers on this machine, or in a network of their own."""
