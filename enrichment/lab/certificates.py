"""An authority of our own, and certificates that it vouches for: for servers of the laboratory.

Made by the `openssl` program, valid for two days, in a folder that goes with the test. Nothing here
is for a server that anybody depends on.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from enrichment.lab.ports import LOOPBACK
from enrichment.lab.server_process import ServerError

DAYS: Final = "2"  # whatever leaks of a test is worth nothing the day after tomorrow
OPENSSL_S: Final = 30  # one call takes 20 ms
NEW_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """One certificate and its key, as PEM files."""

    certificate: Path
    key: Path

    @property
    def keystore(self) -> Path:
        """Both in one file, as Kafka's servers want them."""
        return self.key.with_suffix(".pem")


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """Who vouches: `certificate` is what others are to trust."""

    folder: Path

    @property
    def certificate(self) -> Path:
        """Its own certificate."""
        return self.folder / "ca.crt"

    @classmethod
    def make(cls, folder: Path) -> Self:
        """A new one, in an empty folder. Raises ServerError."""
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        subject = ("-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=laboratory", "-days", DAYS)
        _openssl(folder, "req", "-x509", *NEW_KEY, *subject)
        return cls(folder=folder)

    def issue(self, name: str, *, address: str = LOOPBACK) -> Certificate:
        """A certificate of that name, good for a server at `address` and for a client."""
        made = Certificate(certificate=self.folder / f"{name}.crt", key=self.folder / f"{name}.key")
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        asking = ("-keyout", made.key.name, "-out", request.name, "-subj", f"/CN={name}")
        _openssl(self.folder, "req", *NEW_KEY, *asking)
        extensions.write_text(f"subjectAltName=IP:{address}\n", encoding="ascii")
        _openssl(
            self.folder,
            *("x509", "-req", "-in", request.name, "-CA", "ca.crt", "-CAkey", "ca.key"),
            *("-CAcreateserial", "-days", DAYS, "-extfile", extensions.name),
            *("-out", made.certificate.name),
        )
        both = made.key.read_bytes() + made.certificate.read_bytes()
        made.keystore.touch(mode=0o600)
        made.keystore.write_bytes(both)
        return made


def _openssl(folder: Path, *arguments: str) -> None:
    program = shutil.which("openssl")
    if program is None:
        raise ServerError("openssl, which makes certificates, is not on the PATH: install it")
    done = subprocess.run(  # noqa: S603  # the openssl that was just found, arguments of our own
        [program, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=OPENSSL_S,
    )
    if done.returncode != 0:
        raise ServerError(f"openssl {arguments[0]} failed:\n{done.stderr.strip()[-1000:]}")
