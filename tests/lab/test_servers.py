"""The laboratory's servers: what they say when they cannot be had, and whom they take for ours."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from enrichment.cli import servers as commands
from enrichment.lab import servers as lab
from enrichment.lab.kafka_server import POM, require_java, resolve_jars
from enrichment.lab.ports import FREE_HIGH, FREE_LOW, free_port, is_free, require_free
from enrichment.lab.redis_server import require_redis
from enrichment.lab.server_process import ServerProcess
from enrichment.lab.servers import LocalServers, ServerError, ServerState
from enrichment.settings import Settings

SLEEPER = "import time, sys; print('awake', flush=True); time.sleep(60)"


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the whole PATH, and no JAVA_HOME."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return folder


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that this test process itself listens on."""
    port = free_port()
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        yield port


def put(folder: Path, name: str, script: str) -> Path:
    """An executable shell script in the folder."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def sleeper(folder: Path, mark: str = "mark") -> ServerProcess:
    """A process that only sleeps, to stop and to mistake."""
    return ServerProcess(
        name="Sleeper",
        pid_path=folder / "process.json",
        log_path=folder / "sleeper.log",
        mark=str(folder / mark),
    )


class TestPorts:
    """A taken port is said plainly; a free one is outside the range that clients are given."""

    def test_a_taken_port_names_its_holder_and_the_way_out(self, taken_port: int) -> None:
        """The message has the port, the pid and name of who holds it, and the option to use."""
        with pytest.raises(ServerError) as caught:
            require_free(taken_port, server="Kafka", option="--kafka-port")
        message = str(caught.value)
        assert f"port {taken_port}" in message
        assert "--kafka-port" in message
        if Path("/proc").exists():
            assert f"pid {os.getpid()} (" in message

    def test_up_refuses_a_taken_port_before_it_starts_anything(
        self, tmp_path: Path, taken_port: int
    ) -> None:
        """With Kafka's port taken, Redis is not started either."""
        servers = LocalServers(
            tmp_path, kafka_port=taken_port, redis_port=free_port(), libs_dir=tmp_path / "libs"
        )
        with pytest.raises(ServerError, match=f"port {taken_port}"):
            servers.up()
        assert [status.state for status in servers.status()] == ["down", "down"]
        assert f"held by pid {os.getpid()}" in servers.status()[0].detail
        assert not (tmp_path / "redis").exists()

    def test_no_port_is_given_twice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever asks for three ports before it starts gets three, however few there are."""
        monkeypatch.setattr("enrichment.lab.ports.FREE_HIGH", FREE_LOW + 60)
        given = [free_port() for _ in range(20)]
        assert len(set(given)) == len(given)

    def test_free_ports_are_free_and_below_the_ephemeral_range(self) -> None:
        """A hundred draws of neighbours: all free, none where a client's own port may fall."""
        for _ in range(100):
            port = free_port(span=2)
            assert FREE_LOW <= port < FREE_HIGH
            assert is_free(port)
            assert is_free(port + 1)


class TestPrerequisites:
    """What is missing is named, with the command that installs it."""

    def test_no_java(self, tools: Path) -> None:
        """Without a java the message says 17 and how to get it."""
        assert not list(tools.iterdir())
        with pytest.raises(ServerError, match=r"java 17.*scripts/prerequisites"):
            require_java()

    @pytest.mark.parametrize("said", ['java version "1.8.0_402"', 'openjdk version "11.0.22"'])
    def test_an_old_java(self, tools: Path, said: str) -> None:
        """An older one is refused by its number, in the old way of counting too."""
        put(tools, "java", f"echo '{said}' >&2")
        with pytest.raises(ServerError, match=r"is (8|11): run .*JAVA_HOME"):
            require_java()

    def test_java_home_goes_before_the_path(
        self, tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """JAVA_HOME's java is taken though the PATH has another."""
        put(tools, "java", "echo 'openjdk version \"11.0.1\"' >&2")
        (tmp_path / "jdk" / "bin").mkdir(parents=True)
        newer = put(tmp_path / "jdk" / "bin", "java", "echo 'openjdk version \"21\"' >&2")
        monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
        assert require_java() == str(newer)

    def test_no_maven(self, tools: Path, tmp_path: Path) -> None:
        """Without mvn and without jars the message names mvn."""
        assert not list(tools.iterdir())
        with pytest.raises(ServerError, match=r"mvn.*scripts/prerequisites"):
            resolve_jars(tmp_path / "libs")

    def test_maven_is_not_asked_twice_for_the_same_pom(self, tools: Path, tmp_path: Path) -> None:
        """Once brought, the jars serve without mvn; another pom brings them anew."""
        count = 'echo x >> "$0.calls"; for a; do case $a in -DoutputDirectory=*) '
        put(tools, "mvn", count + '/bin/mkdir -p "${a#*=}";; esac; done')
        pom = tmp_path / "pom.xml"
        pom.write_bytes(POM.read_bytes())
        for _ in range(2):
            assert resolve_jars(tmp_path / "libs", pom=pom) == tmp_path / "libs"
        assert (tools / "mvn.calls").read_text() == "x\n"
        pom.write_text(pom.read_text() + "\n")
        resolve_jars(tmp_path / "libs", pom=pom)
        assert (tools / "mvn.calls").read_text() == "x\nx\n"

    def test_a_maven_that_fails_is_quoted(self, tools: Path, tmp_path: Path) -> None:
        """Its own words reach the user, and no half a folder is left to be trusted."""
        put(tools, "mvn", "echo 'Unknown host repo.example'; exit 1")
        with pytest.raises(ServerError, match=r"(?s)network.*Unknown host repo\.example"):
            resolve_jars(tmp_path / "libs")
        assert not (tmp_path / "libs").exists()

    def test_no_redis(self, tools: Path) -> None:
        """Without redis-server the message names it."""
        assert not list(tools.iterdir())
        with pytest.raises(ServerError, match=r"redis-server.*scripts/prerequisites"):
            require_redis()

    def test_an_old_redis(self, tools: Path) -> None:
        """One that does not know our settings is refused by its number."""
        put(tools, "redis-server", "echo 'Redis server v=6.0.16 sha=00000000:0'")
        with pytest.raises(ServerError, match=r"6\.2 or newer.* is 6\.0"):
            require_redis()


class TestProcess:
    """A process is ours by its command line, and is stopped by its pid alone."""

    def test_it_runs_detached_and_stops(self, tmp_path: Path) -> None:
        """In a session of its own, logging to its file, known from its pid file; then gone."""
        process = sleeper(tmp_path)
        pid = process.spawn([sys.executable, "-c", SLEEPER, process.mark], port=7)
        process.await_ready(pid, lambda: "awake" in process.log_path.read_text(), within_s=30)
        found = process.running()
        assert found is not None
        assert (found.pid, found.port) == (pid, 7)
        assert os.getsid(pid) == pid
        assert process.stop()
        assert process.running() is None
        assert not process.stop()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    @pytest.mark.parametrize("mark", ["other", "mark"])
    def test_a_stranger_under_our_pid_is_left_alone(self, tmp_path: Path, mark: str) -> None:
        """A pid file that names someone else's process, even one named alike, stops nothing."""
        command = [sys.executable, "-c", SLEEPER, f"/x{tmp_path / mark}"]
        stranger = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert stranger.stdout is not None
        try:
            assert stranger.stdout.readline() == "awake\n"
            process = sleeper(tmp_path)
            process.pid_path.write_text(json.dumps({"pid": stranger.pid, "port": 7}))
            assert process.running() is None
            assert not process.stop()
            assert stranger.poll() is None
        finally:
            stranger.kill()
            stranger.communicate()

    @pytest.mark.parametrize("text", ["", "{", "{}", "[1]", '{"pid": "x", "port": 1}'])
    def test_half_a_pid_file_is_no_process(self, tmp_path: Path, text: str) -> None:
        """Whatever a crash left in the file, nothing runs and a start goes on."""
        process = sleeper(tmp_path)
        process.pid_path.write_text(text)
        assert process.running() is None

    def test_one_that_dies_at_start_shows_the_end_of_its_log(self, tmp_path: Path) -> None:
        """Its last words and where they stand, at once and not after the whole wait."""
        process = sleeper(tmp_path)
        dying = [sys.executable, "-c", "print('disk is full')", process.mark]
        pid = process.spawn(dying, port=7)
        with pytest.raises(ServerError) as caught:
            process.await_ready(pid, lambda: False, within_s=120)
        assert "ended while it was starting" in str(caught.value)
        assert "disk is full" in str(caught.value)
        assert str(process.log_path) in str(caught.value)

    def test_one_that_never_answers_is_stopped_and_told(self, tmp_path: Path) -> None:
        """The message says how long was waited, shows the log, and says how to wait longer."""
        process = sleeper(tmp_path)
        pid = process.spawn([sys.executable, "-c", SLEEPER, process.mark], port=7)
        with pytest.raises(ServerError, match=r"(?s)within 2 s.*awake.*--wait-s"):
            process.await_ready(pid, lambda: False, within_s=2)
        assert process.running() is None

    def test_the_log_of_the_run_before_is_kept(self, tmp_path: Path) -> None:
        """A new start has a new log; the old one lies beside it."""
        process = sleeper(tmp_path)
        for word in ("first", "second"):
            script = f"print({word!r})"
            pid = process.spawn([sys.executable, "-c", script, process.mark], port=7)
            os.waitpid(pid, 0)
        assert process.log_path.read_text() == "second\n"
        assert process.log_path.with_name("sleeper.log.1").read_text() == "first\n"

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent")
    def test_a_tied_process_ends_with_a_killed_parent(self, tmp_path: Path) -> None:
        """After kill -9 of who started it, it goes too: no finalizer has to run."""
        script = f"""
import os, sys
from pathlib import Path
from enrichment.lab.server_process import ServerProcess
folder = Path({str(tmp_path)!r})
process = ServerProcess(name="Sleeper", pid_path=folder / "process.json",
    log_path=folder / "sleeper.log", mark=str(folder / "mark"), tied=True)
pid = process.spawn([sys.executable, "-c", {SLEEPER!r}, process.mark], port=7)
process.await_ready(pid, lambda: "awake" in process.log_path.read_text(), within_s=30)
os.kill(os.getpid(), 9)
"""
        parent = subprocess.run([sys.executable, "-c", script], check=False)
        assert parent.returncode == -9
        process = sleeper(tmp_path)
        assert process.log_path.read_text() == "awake\n"
        for _ in range(100):
            if process.running() is None:
                return
            time.sleep(0.05)
        pytest.fail("it still runs")


class TestCommands:
    """`up`, `down` and `status` speak plainly and end with codes that a script can use."""

    @pytest.fixture
    def app(self) -> typer.Typer:
        """A top-level application with nothing but the three commands."""
        app = typer.Typer()
        commands.register(app)
        return app

    def test_status_of_nothing_is_json_with_exit_code_3(
        self, app: typer.Typer, tmp_path: Path
    ) -> None:
        """Both servers, down, each with its address and its log; and no folder is made."""
        folder = tmp_path / "none"
        result = CliRunner().invoke(app, ["status", "--json", "--state", str(folder)])
        assert result.exit_code == 3
        shown = json.loads(result.stdout)
        assert {name: server["state"] for name, server in shown.items()} == {
            "kafka": ServerState.DOWN,
            "redis": ServerState.DOWN,
        }
        assert shown["kafka"]["address"] == "127.0.0.1:19092"
        assert shown["kafka"]["log"] == str(folder / "kafka" / "broker.log")
        assert not folder.exists()

    def test_down_of_nothing_is_no_failure(self, app: typer.Typer, tmp_path: Path) -> None:
        """Stopping what is stopped says so, with exit code 0."""
        result = CliRunner().invoke(app, ["down", "--state", str(tmp_path / "none")])
        assert (result.exit_code, result.stdout) == (0, "nothing was running\n")

    def test_discard_deletes_the_data_and_keeps_the_jars(
        self, app: typer.Typer, tmp_path: Path
    ) -> None:
        """Without --discard the data stays; with it the next start is from nothing."""
        jars, data = tmp_path / "kafka" / "libs", tmp_path / "kafka" / "data"
        for folder in (jars, data, tmp_path / "redis" / "data"):
            folder.mkdir(parents=True)
        arguments = ["down", "--state", str(tmp_path)]
        assert CliRunner().invoke(app, arguments).exit_code == 0
        assert data.exists()
        assert CliRunner().invoke(app, [*arguments, "--discard"]).exit_code == 0
        assert not data.exists()
        assert not (tmp_path / "redis" / "data").exists()
        assert jars.exists()

    def test_up_without_java_is_one_clear_message(
        self, app: typer.Typer, tmp_path: Path, tools: Path
    ) -> None:
        """Exit code 1, the message on stderr, no trace."""
        put(tools, "redis-server", "echo 'Redis server v=7.0.15'")
        port = str(free_port(span=2))
        arguments = ["up", "--state", str(tmp_path), "--kafka-port", port]
        arguments += ["--redis-port", str(free_port())]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 1
        assert result.stderr.startswith("error: Kafka needs java 17 or newer")

    def test_the_defaults_are_those_of_the_laboratory(self) -> None:
        """The command line repeats them so as not to import; they must not drift apart."""
        assert commands.DEFAULT_KAFKA_PORT == lab.KAFKA_PORT
        assert commands.DEFAULT_REDIS_PORT == lab.REDIS_PORT
        assert Settings().state_dir == lab.STATE_DIR
