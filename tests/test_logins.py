"""Settings: secrets from files, logins that are asked for, and nothing secret that is shown."""

import os
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import faust
import pytest
from pydantic import ValidationError

from enrichment.enrich.clients import LoopConfig
from enrichment.lab.certificates import Authority
from enrichment.settings import Settings
from enrichment.stream.security import PLAIN, Mechanism, Security, SecurityProtocol
from enrichment.window.driver import credentials
from enrichment.wiring.clients import kafka_config

WORDS = "correct-horse-battery"
LOGIN: dict[str, Any] = {
    "kafka_security_protocol": "SASL_SSL",
    "kafka_sasl_user": "me",
    "kafka_sasl_password": WORDS,
}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority with a certificate for `me`."""
    made = Authority.make(tmp_path / "tls")
    made.issue("me")
    return made


def test_a_secret_may_be_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named after its setting, without the newline at its end; the environment comes first."""
    (tmp_path / "ENRICHMENT_KAFKA_SASL_PASSWORD").write_text(f"{WORDS}\n")
    (tmp_path / "enrichment_kafka_sasl_user").write_text("from-file")
    monkeypatch.setenv("ENRICHMENT_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("ENRICHMENT_KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    assert (Settings().kafka_security.user, Settings().kafka_security.password) == (
        "from-file",
        WORDS,
    )
    monkeypatch.setenv("ENRICHMENT_KAFKA_SASL_USER", "from-environment")
    assert Settings().kafka_security.user == "from-environment"


def test_a_mounted_secret_is_read(tmp_path: Path) -> None:
    """Kubernetes lays links to links, and swaps the folder that they lead to."""
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..2026" / "ENRICHMENT_PSEUDONYM_KEY").write_text(WORDS)
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "ENRICHMENT_PSEUDONYM_KEY").symlink_to("..data/ENRICHMENT_PSEUDONYM_KEY")
    key = Settings(secrets_dir=tmp_path).pseudonym_key
    assert key is not None
    assert key.get_secret_value() == WORDS


def test_a_folder_of_secrets_that_is_not_there_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not a start without them."""
    monkeypatch.setenv("ENRICHMENT_SECRETS_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(ValidationError, match="secrets_dir"):
        Settings()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"kafka_security_protocol": "PLAINTEXT"}, "nobody would ask for them"),
        ({"kafka_security_protocol": "SSL"}, "nobody would ask for them"),
        ({"kafka_sasl_user": ""}, "needs ENRICHMENT_KAFKA_SASL_USER"),
        ({"kafka_sasl_password": None}, "needs ENRICHMENT_KAFKA_SASL_USER"),
        ({"kafka_ssl_certificate": __file__}, "go together"),
        ({"kafka_ssl_key": __file__}, "go together"),
        ({"kafka_security_protocol": "SASL_PLAINTEXT"}, "kafka_security_protocol"),
        ({"kafka_ssl_ca": "/no/such/file"}, "kafka_ssl_ca"),
    ],
)
def test_what_would_be_passed_over_is_refused(changed: dict[str, Any], said: str) -> None:
    """Whoever sets a password or a certificate believes that it protects."""
    with pytest.raises(ValidationError, match=said):
        Settings(**(LOGIN | changed))


def test_files_without_tls_are_refused() -> None:
    """An authority to trust, and nobody who is asked to prove anything."""
    with pytest.raises(ValidationError, match="nothing would be encrypted"):
        Settings(kafka_ssl_ca=Path(__file__))


def test_a_refused_start_shows_no_secret() -> None:
    """Of several settings that do not fit together, none is printed."""
    environment = os.environ | {
        "ENRICHMENT_KAFKA_SASL_PASSWORD": WORDS,
        "ENRICHMENT_PSEUDONYM_KEY": "short",
    }
    for more, said in (
        ({}, "ENRICHMENT_PSEUDONYM_KEY: "),
        ({"ENRICHMENT_PSEUDONYM_KEY": WORDS}, "nobody would ask for them"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "enrichment", "--version"],
            env=environment | more, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert said in done.stderr
        assert WORDS not in done.stderr
        assert "short" not in done.stderr.replace("shorter", "")


def test_no_text_of_settings_or_clients_has_a_secret() -> None:
    """Not theirs, not their dict's, and not that of a record which holds what clients are told."""
    settings = Settings(**LOGIN)
    client = kafka_config(settings, "test")
    config = LoopConfig(
        stream="s", client=client, group_id="g", instance="i", exactly_once=True,
        batch_events_max=1, batch_ms_max=1, digest_partitions=1,
    )  # fmt: skip
    shown = [settings, settings.model_dump(), settings.kafka_security, client, client | {}, config]
    for one in shown:
        assert WORDS not in f"{one!r} {one}"
    assert WORDS not in settings.model_dump_json()
    assert client["sasl.password"] == WORDS, "and the client is told it all the same"


def test_both_clients_are_told_the_same(authority: Authority) -> None:
    """That of librdkafka and that of aiokafka, each in its own words; hosts are checked by both."""
    me = authority.folder / "me.crt", authority.folder / "me.key"
    tls = Security(
        protocol=SecurityProtocol.SSL,
        ca=str(authority.certificate),
        certificate=str(me[0]),
        key=str(me[1]),
    )
    both = Security(
        protocol=SecurityProtocol.SASL_SSL,
        mechanism=Mechanism.SCRAM_SHA_512,
        user="me",
        password=WORDS,
        ca=str(authority.certificate),
    )
    assert (PLAIN.librdkafka(), PLAIN.aiokafka(), credentials(PLAIN)) == ({}, {}, None)
    assert tls.librdkafka() == {
        "security.protocol": "SSL",
        "ssl.endpoint.identification.algorithm": "https",
        "ssl.ca.location": str(authority.certificate),
        "ssl.certificate.location": str(me[0]),
        "ssl.key.location": str(me[1]),
    }
    assert both.librdkafka()["sasl.mechanism"] == both.aiokafka()["sasl_mechanism"]
    for one in (tls, both):
        told = one.aiokafka()
        assert told["security_protocol"] == one.librdkafka()["security.protocol"]
        assert told["ssl_context"].check_hostname
        assert told["ssl_context"].verify_mode is ssl.CERT_REQUIRED
        trusted = [each["subject"] for each in told["ssl_context"].get_ca_certs()]
        assert trusted == [((("commonName", "laboratory"),),)], "no other authority is trusted"
        assert isinstance(
            credentials(one), faust.SASLCredentials if one is both else faust.SSLCredentials
        )
    assert credentials(both).mechanism.value == "SCRAM-SHA-512"
