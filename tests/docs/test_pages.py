"""The pages hold: links lead somewhere, commands exist, the reference is the code's."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from typer.core import TyperGroup

from enrichment.cli.app import build
from enrichment.cli.reference import commands as known_commands
from enrichment.cli.reference import pages as reference_pages
from tests.docs.fenced import ROOT, anchors, blocks, commands, links, pages

RUN_S: Final = 60
# Pages whose blocks marked `offline` are carried out, in a folder that has what a clone's top has.
CARRIED_OUT: Final = ("own-stream.md", "sizing.md", "tutorial.md")
TOP: Final = ("topics", "schemas", "requirements", "enrichment/pipelines")


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    """Each command, as it is typed, and its options; of a group none."""
    found: dict[str, set[str]] = {}
    for path, command in known_commands(build()):
        named = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        named.add("--help")
        group = isinstance(command, TyperGroup) and not command.invoke_without_command
        found[path] = set() if group else named
    return found


def _problem(line: str, known: dict[str, set[str]]) -> str | None:
    """What is wrong with a command line: no such command, or no such option of it."""
    words = shlex.split(line)
    if words[1].startswith("-"):
        return None if words[1] in {"--help", "--version"} else f"no option {words[1]}"
    path = " ".join(words[:3]) if " ".join(words[:3]) in known else " ".join(words[:2])
    if path not in known or (not known[path] and len(words) > 2):
        return f"there is no `{' '.join(words[:3])}`"
    options = [word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)]
    wrong = [each for each in options if each not in known[path]]
    return f"`{path}` has no {', '.join(wrong)}" if wrong else None


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_on_a_page_exist(page: Path, known: dict[str, set[str]]) -> None:
    """Each `enrichment ...` names a command that there is, and options that it takes."""
    text = page.read_text(encoding="utf-8")
    found = {line: problem for line in commands(text) if (problem := _problem(line, known))}
    assert not found


def test_a_command_that_is_not_there_is_found(known: dict[str, set[str]]) -> None:
    """The check above checks: a command, a noun's command, and an option of none."""
    for line in ("enrichment strat", "enrichment jobs lits", "enrichment jobs list --sinze 1h"):
        assert _problem(line, known), line
    assert _problem("enrichment jobs list --since=1h", known) is None


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    """To a file of the repository, and to a heading that it has; other sites are not asked."""
    wrong = []
    for link in links(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            wrong.append(f"{link}: no such file")
        elif anchor and anchor not in anchors(target.read_text(encoding="utf-8")):
            wrong.append(f"{link}: no such heading")
    assert not wrong


def test_every_page_is_in_the_contents() -> None:
    """The site's index names each page, or a folder's whole."""
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in sorted((ROOT / "docs").rglob("*.md")):
        name = page.relative_to(ROOT / "docs").with_suffix("").as_posix()
        folder = name.rpartition("/")[0]
        named = rf"^({re.escape(name)}|{folder or '-'}/\*)$"
        assert name == "index" or re.search(named, index, re.M), name


def test_the_reference_is_current() -> None:
    """docs/reference is what the code has; `enrichment docs reference` makes it anew."""
    for name, text in reference_pages(build()).items():
        path = ROOT / "docs" / "reference" / name
        assert path.read_text(encoding="utf-8") == text, "do: enrichment docs reference"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder that has what the commands of a page look for at the top of a clone."""
    for name in TOP:
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


def _environment() -> dict[str, str]:
    """As an activated environment's: `python` and `enrichment` are those that tests run with."""
    plain = {name: text for name, text in os.environ.items() if not name.startswith("ENRICHMENT_")}
    paths = f"{Path(sys.executable).parent}{os.pathsep}{plain.get('PATH', '')}"
    return plain | {"PATH": paths, "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("name", CARRIED_OUT)
def test_what_needs_no_servers_runs_as_it_stands(name: str, clone: Path) -> None:
    """The page's files are written and its offline blocks run in order, each ending with 0."""
    ran = 0
    for block in blocks((ROOT / "docs" / name).read_text(encoding="utf-8")):
        if block.file is not None:
            (clone / block.file).write_text(block.text)
        elif block.offline:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block.text],
                cwd=clone, env=_environment(), capture_output=True, text=True, timeout=RUN_S,
                check=False,
            )  # fmt: skip
            assert done.returncode == 0, (block.text, done.stdout, done.stderr)
            ran += 1
    assert ran


def test_python_of_these_pages_compiles_and_imports_what_there_is() -> None:
    """Blocks of Python are valid, and the names that they import exist."""
    for name in CARRIED_OUT:
        for block in blocks((ROOT / "docs" / name).read_text(encoding="utf-8")):
            if block.language == "python":
                compile(block.text, name, "exec")
                imports = re.findall(r"^(?:from enrichment\S* )?import .*$", block.text, re.M)
                exec("\n".join(imports), {})  # noqa: S102  # our own page
