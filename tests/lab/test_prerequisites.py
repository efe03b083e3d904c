"""`scripts/prerequisites`: it says precisely what to install where it may not install it."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

SCRIPT: Final = Path(__file__).resolve().parents[2] / "scripts" / "prerequisites"
TOOLS: Final = ("bash", "env", "id", "xargs", "sed", "cat", "grep", "tail", "echo")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A PATH with a shell's tools and neither apt-get nor anything that is asked for."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (folder / tool).symlink_to(found)
    return folder


def put(folder: Path, name: str, script: str) -> None:
    """An executable shell script in the folder."""
    (folder / name).write_text(f"#!{folder}/bash\n{script}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


def run(path: Path, *groups: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The script with this PATH alone."""
    return subprocess.run(
        [str(path / "bash"), str(SCRIPT), *groups],
        env={"PATH": str(path), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_all_there_is_silence(path: Path) -> None:
    """With all three in place it says nothing and ends with 0."""
    put(path, "java", "echo 'openjdk version \"17.0.15\"' >&2")
    put(path, "mvn", "")
    put(path, "redis-server", "")
    done = run(path, "servers")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_is_missing_is_named_with_the_command(path: Path) -> None:
    """Without the right or the means, it ends with 1 and the packages by their names."""
    put(path, "mvn", "")
    done = run(path, "servers")
    assert done.returncode == 1
    assert "Missing: java redis." in done.stderr
    assert "no apt-get" in done.stderr
    assert "apt-get install openjdk-17-jre-headless redis-server" in done.stderr
    assert "maven" not in done.stderr.split("Fedora")[0]


@pytest.mark.parametrize("version", ["1.8.0_402", "11.0.22"])
def test_an_old_java_counts_as_missing(path: Path, version: str) -> None:
    """One too old is missing, and the message says that it is there."""
    put(path, "java", f"echo 'openjdk version \"{version}\"' >&2")
    put(path, "mvn", "")
    put(path, "redis-server", "")
    done = run(path, "servers")
    assert done.returncode == 1
    assert "Missing: java." in done.stderr
    assert "older than 17" in done.stderr


def test_a_python_without_venv_is_told(path: Path) -> None:
    """Debian's python3 has no ensurepip until python3-venv is there."""
    put(path, "python3", "exit 1")
    done = run(path, "python")
    assert done.returncode == 1
    assert "apt-get install python3 python3-venv" in done.stderr


def test_an_unknown_group_names_the_known(path: Path) -> None:
    """A slip is a message and exit code 2."""
    done = run(path, "server")
    assert done.returncode == 2
    assert "unknown group 'server' (python, servers, faults, browser)" in done.stderr


@pytest.fixture
def clone(tmp_path: Path, path: Path) -> Path:
    """A folder with the script in its place, and what a build takes on the PATH."""
    for tool in ("dirname", "mkdir", "mktemp", "mv", "rm", "ln"):
        (path / tool).symlink_to(shutil.which(tool) or "")
    (tmp_path / "clone" / "scripts").mkdir(parents=True)
    shutil.copy(SCRIPT, tmp_path / "clone" / "scripts")
    return tmp_path / "clone"


def build(clone: Path, path: Path) -> subprocess.CompletedProcess[str]:
    """The script's `faults`, in that clone."""
    command = [str(path / "bash"), str(clone / "scripts" / SCRIPT.name), "faults"]
    return subprocess.run(
        command, env={"PATH": str(path)}, capture_output=True, text=True, check=False
    )


def test_without_go_the_cuts_are_skipped(path: Path, clone: Path) -> None:
    """No failure: what will be skipped is said, and nothing is left behind."""
    done = build(clone, path)
    assert done.returncode == 0
    assert "no go" in done.stderr
    assert "will be skipped" in done.stderr
    assert not (clone / ".tools").exists()


def test_toxiproxy_is_built_once_for_each_version(path: Path, clone: Path) -> None:
    """Under its version, with a link to it; the second time nothing is done or said."""
    put(path, "go", 'echo built > "$GOBIN/server"; chmod 755 "$GOBIN/server"; echo "$@" >&2')
    (path / "chmod").symlink_to(shutil.which("chmod") or "")
    assert build(clone, path).returncode == 0
    link = clone / ".tools" / "bin" / "toxiproxy"
    assert link.read_text() == "built\n"
    assert link.readlink().name.startswith("toxiproxy-v")
    put(path, "go", "exit 1")
    done = build(clone, path)
    assert (done.returncode, done.stderr) == (0, "")
    assert {each.name for each in link.parent.iterdir()} == {link.name, link.readlink().name}


def test_a_build_that_fails_says_why(path: Path, clone: Path) -> None:
    """The last words of go are passed on, and it is no failure either."""
    put(path, "go", "echo 'module lookup disabled' >&2; exit 1")
    done = build(clone, path)
    assert done.returncode == 0
    assert "module lookup disabled" in done.stderr
    assert list((clone / ".tools" / "bin").iterdir()) == []
