"""Kafka Streams: a small Java program, built by Maven where a JDK is found.

Where it cannot be had, that is said, and the other systems are measured without it.
"""

import functools
import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import msgspec

from enrichment.lab.server_process import locked
from enrichment.pipelines import Pipeline

PROJECT: Final = Path(__file__).resolve().parents[4] / "tests" / "bench" / "kafka-streams"
MAIN: Final = "enrichment.bench.Peer"
BUILD_S: Final = 240  # 25 MB of jars over a slow line, and half a minute for Maven's own
HEAP: Final = "1g"  # it uses 300 MB: the collector shall not be what is measured


class UnavailableError(RuntimeError):
    """Why this peer cannot be run here, said in one line."""


def built(folder: Path) -> Path:
    """`folder` with the program's classes and jars, built anew where its sources have changed.

    Raises UnavailableError.
    """
    if not PROJECT.is_dir():
        raise UnavailableError("its sources are in a clone of the repository, and this is none")
    wanted = _fingerprint()
    stamp = folder / ".sources-sha256"
    with locked(folder.with_name(folder.name + ".lock")):
        if stamp.exists() and stamp.read_text(encoding="ascii") == wanted:
            return folder
        _tool("javac", "a JDK")
        command = [
            _tool("mvn", "Maven"), "-B", "-q", "-f", str(PROJECT / "pom.xml"), f"-Dout={folder}",
            "compile", "dependency:copy-dependencies", "-DincludeScope=runtime",
            f"-DoutputDirectory={folder / 'libs'}",
        ]  # fmt: skip
        try:
            done = subprocess.run(  # noqa: S603  # the mvn that was just found
                command, capture_output=True, text=True, check=False, timeout=BUILD_S
            )
        except subprocess.TimeoutExpired as slow:
            raise UnavailableError(f"Maven did not build it within {BUILD_S} s") from slow
        if done.returncode != 0:
            said = " ".join((done.stdout + done.stderr).split())[-300:]
            raise UnavailableError(f"Maven could not build it: {said}")
        stamp.write_text(wanted, encoding="ascii")
    return folder


def java(folder: Path) -> list[str]:
    """The command that runs the program built in `folder`, its options to follow."""
    # The parallel collector: throughput is what it is measured by.
    return [
        _tool("java", "a JDK"), f"-Xmx{HEAP}", "-XX:+UseParallelGC",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-cp", f"{folder / 'classes'}{os.pathsep}{folder / 'libs'}/*", MAIN,
    ]  # fmt: skip


def table(pipeline: Pipeline) -> bytes:
    """What the program is told of a pipeline: its rules for features and its score table."""
    return msgspec.json.encode(
        {
            "pipeline": pipeline.name,
            "version": pipeline.version,
            "roles": list(pipeline.entities),
            "features": pipeline.features,
            "score": pipeline.score,
        }
    )


@functools.cache
def _tool(name: str, what: str) -> str:
    """The path of a program: JAVA_HOME's, else the PATH's. Raises UnavailableError."""
    home = os.environ.get("JAVA_HOME")
    found = (shutil.which(name, path=f"{home}/bin") if home else None) or shutil.which(name)
    if found is None:
        raise UnavailableError(f"it is built with {what}, and there is no {name} on the PATH")
    return found


def _fingerprint() -> str:
    """A hash of everything that is compiled."""
    digest = hashlib.sha256()
    for path in sorted((PROJECT / "src").rglob("*.java")):
        digest.update(path.read_bytes())
    digest.update((PROJECT / "pom.xml").read_bytes())
    return digest.hexdigest()
