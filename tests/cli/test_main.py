"""The entry point: what it says when it cannot begin."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "enrichment", *arguments], env=os.environ | environment,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_a_wrong_setting_is_named_with_what_was_found() -> None:
    """The variable's name, what is wrong with it and its value stand in one line; exit code 2."""
    done = _run("status", ENRICHMENT_BATCH_MS_MAX="soon")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ENRICHMENT_BATCH_MS_MAX: ")
    assert done.stderr.rstrip().endswith("found 'soon'")
    assert len(done.stderr.splitlines()) == 1


def test_a_wrong_url_is_named_without_its_password() -> None:
    """What is wrong with it stands there, and nothing of what was found."""
    done = _run("status", ENRICHMENT_REDIS_URL="redis://user:hunter2@h1,h2")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ENRICHMENT_REDIS_URL: ")
    assert "redis+cluster://" in done.stderr
    assert "hunter2" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_the_extras_it_says_what_to_install() -> None:
    """The bare package reads the cache; its command names the missing library, without a trace."""
    script = (
        "import sys; sys.modules['typer'] = None\nfrom enrichment.__main__ import main\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "pip install 'enrichment[all]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("evalute",), "Did you mean 'evaluate'?"),
        (("enrich", "--pipelin", "x"), "--pipeline"),
        (("enrich", "--pipeline", "paymnts"), "did you mean 'payments'?"),
        (("bench", "hot-pat"), "hot-path"),
        (("topics", "diff", "payments.evnts"), "payments.events"),
    ],
)
def test_what_is_misspelt_is_met_with_the_nearest_valid(
    arguments: tuple[str, ...], said: str
) -> None:
    """A wrong command, option, pipeline, benchmark or topic: exit code 2 and a suggestion."""
    done = _run(*arguments)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_pipeline_of_calls_has_no_stages_of_events(tmp_path: Path) -> None:
    """What it has not is refused before anything starts; questions about a stream are not asked."""
    file = tmp_path / "calls.toml"
    file.write_text('[stream]\nname = "calls"\n\n[calls]\n')
    for arguments, said in (
        (("run", "--only", "sample", "--only", "enrich"), "calls has no stage enrich"),
        (("guard",), "calls has no stage guard"),
        (("preflight", "--offline"), "a pipeline of calls has none"),
    ):
        done = _run(*arguments, "--pipeline", str(file))
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
