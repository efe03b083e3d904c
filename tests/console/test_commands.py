"""Child processes as the console runs them: bounded in number, time and words."""

import asyncio
import sys

import pytest

from enrichment.console import commands
from enrichment.console.commands import Commands
from enrichment.console.problems import Problem


def python(text: str) -> Commands:
    """Commands that run this Python text in place of the project's."""
    return Commands((sys.executable, "-c", text))


def test_arguments_are_handed_on_as_they_are_and_no_token_with_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No shell sees them; and a child can leak no secret that it has not got."""
    monkeypatch.setenv("ENRICHMENT_CONSOLE_TOKEN", "secret")
    monkeypatch.setenv("ENRICHMENT_LOG_TEXT", "true")
    text = (
        "import os, sys; print(sys.argv[1:], sorted(n for n in os.environ if n[:7] == 'ENRICHM'))"
    )
    said = asyncio.run(python(text).run("--reason=$(id); 'x'", "--", "-e"))
    assert said.out.decode().strip() == (
        "[\"--reason=$(id); 'x'\", '--', '-e'] ['ENRICHMENT_LOG_TEXT']"
    )


def test_what_a_command_says_is_told_by_its_output_and_code() -> None:
    """The exit code, the output as bytes, and an error without its prefix."""
    text = "import sys; print('{}'); sys.stderr.write('error: no such job\\n'); sys.exit(2)"
    said = asyncio.run(python(text).run())
    assert (said.code, said.out, said.error) == (2, b"{}\n", "no such job")


def test_one_that_takes_too_long_is_ended_with_all_that_it_started() -> None:
    """A look-up that hangs holds neither a slot nor memory."""
    text = (
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).wait()"
    )
    with pytest.raises(Problem) as caught:
        asyncio.run(python(text).run(within_s=0.5))
    assert caught.value.status == 504


def test_one_that_says_too_much_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The console holds no more of an answer than it said it would."""
    monkeypatch.setattr(commands, "COMMAND_BYTES_MAX", 1_000)
    with pytest.raises(Problem) as caught:
        asyncio.run(python("print('x' * 100_000_000)").run())
    assert caught.value.status == 502


def test_no_more_run_at_once_than_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes when all are busy is told so, and a slot that was freed is used again."""
    monkeypatch.setattr(commands, "COMMAND_WAIT_S", 0.1)

    async def three() -> list[object]:
        runs = python("import time; time.sleep(1)")
        asked = (runs.run() for _ in range(3))
        found: list[object] = await asyncio.gather(*asked, return_exceptions=True)
        return [*found, await runs.run()]

    *found, again = asyncio.run(three())
    [refused] = [one for one in found if isinstance(one, Problem)]
    assert refused.status == 503
    assert not isinstance(again, Problem)
