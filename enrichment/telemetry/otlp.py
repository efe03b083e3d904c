"""Spans to a collector by OTLP: protobuf over HTTP, set up by OpenTelemetry's own variables.

Imported where it is asked for alone: it needs the extra `otlp`. Nothing of what a library says
about a failure is shown, for a header may be quoted in it, and headers hold secrets.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.util.re import parse_env_headers
from requests.adapters import HTTPAdapter

from enrichment.telemetry.delivery import Destination

ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
HEADERS: Final = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")

DEFAULT_ENDPOINT: Final = "http://localhost:4318"
"""As the standard has it: a collector beside the process."""

PROTOCOL: Final = "http/protobuf"

LOUD: Final = ("opentelemetry.exporter.otlp", "opentelemetry.util.re")
"""Loggers with a line for every attempt, and for every header that they cannot read, its value
included."""


class CollectorError(ValueError):
    """A collector that cannot be spoken to as the variables say, without their secrets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector:
    """Where spans are sent."""

    url: str

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Collector":
        """The one that the variables name. Raises CollectorError where they cannot be meant."""
        for name in PROTOCOLS:
            if environ.get(name, PROTOCOL) not in ("", PROTOCOL):
                raise CollectorError(
                    f"{name} is {environ[name]}, and spans are sent by {PROTOCOL} alone, which "
                    "collectors take at port 4318"
                )
        for name in HEADERS:
            _check_headers(name, environ.get(name, ""))
        # One that is of traces alone is the whole address.
        base = (environ.get(ENDPOINT) or DEFAULT_ENDPOINT).removesuffix("/")
        collector = cls(url=environ.get(TRACES_ENDPOINT) or f"{base}/v1/traces")
        if not collector.where:
            named = TRACES_ENDPOINT if environ.get(TRACES_ENDPOINT) else ENDPOINT
            raise CollectorError(f"{named} is no http:// or https:// address")
        return collector

    @property
    def where(self) -> str:
        """Its address without user, password and query; "" where it is none."""
        try:
            parts = urlsplit(self.url)
            port = "" if parts.port is None else f":{parts.port}"
        except ValueError:
            return ""
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return ""
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return f"{parts.scheme}://{host}{port}{parts.path}"


def collector(environ: Mapping[str, str]) -> Destination:
    """The collector that the variables name; no connection is made before there are spans.

    Raises CollectorError.
    """
    for name in LOUD:
        # To nobody, and not to the handler of last resort either, which is standard error.
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False
    found = Collector.of(environ)
    session, noting = requests.Session(), _Noting()
    for scheme in ("http://", "https://"):
        session.mount(scheme, noting)
    # What else the variables say (headers, timeout, compression, certificates) it reads by itself.
    exporter = OTLPSpanExporter(endpoint=found.url, session=session)
    return Destination(exporter=exporter, where=found.where, why=lambda: noting.outcome)


class _Noting(HTTPAdapter):  # type: ignore[misc]  # requests is not typed
    """What sends requests, and knows what came of the last: the exporter says no more than no."""

    def __init__(self) -> None:
        super().__init__()
        self.outcome = "no request could be made"

    def send(self, request: Any, **options: Any) -> Any:
        """As it is; only the kind of an error is noted, for its words may quote a header."""
        try:
            response = super().send(request, **options)
        except Exception as error:
            self.outcome = type(error).__name__
            raise
        self.outcome = f"HTTP {response.status_code}"
        return response


def _check_headers(name: str, written: str) -> None:
    for number, header in enumerate(written.split(","), 1):
        if header.strip() and not parse_env_headers(header, liberal=True):
            raise CollectorError(
                f"{name}: entry {number} is not name=value (its text is not shown)"
            )
