"""A newcomer's hour: what a page says to type, typed, on real servers, in a fresh clone.

Blocks run from top to bottom as in one terminal: what a block sets, the next one has. Those marked
`background` have a terminal each, and are ended by Ctrl-C when the page is through. The first block
that fails ends it. `make hour` does it for the pages below; some half an hour.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TextIO

from tests.docs.fenced import ROOT, Block, blocks

PAGES: Final = ("tutorial.md", "own-stream.md")
BLOCK_S: Final = 900  # the longest waits for a look of the gate
END_S: Final = 60  # a stage ends what it is at
# What a block leaves to the next, like a terminal: every variable, and where one stands.
REMEMBER: Final = (
    "set -a; source .hour-state 2>/dev/null || true\n{text}\nexport -p > .hour-state\n"
)


@dataclass(slots=True)
class Terminals:
    """The shells of one page, in one folder."""

    folder: Path
    transcript: TextIO
    behind: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    def do(self, block: Block) -> None:
        """Write the block's file, or run it. Raises subprocess.SubprocessError where it fails."""
        if block.file is not None:
            (self.folder / block.file).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            self._run(block, f"python - <<'END_OF_PYTHON'\n{block.text}END_OF_PYTHON\n")
        elif block.language == "sh" and block.background:
            self.tell(block.text)
            self.behind.append(self._shell(block.text))
        elif block.language == "sh":
            self._run(block, block.text)

    def tell(self, text: str) -> None:
        """Put a block into the transcript, and on the screen."""
        quoted = "".join(f"$ {line}\n" for line in text.splitlines())
        for where in (self.transcript, sys.stdout):
            where.write(f"\n{quoted}")
            where.flush()

    def end(self) -> None:
        """Ctrl-C in every other terminal, the newest first."""
        for process in reversed(self.behind):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
                process.wait(END_S)
        self.behind.clear()

    def take_down(self) -> None:
        """End the servers, where a page has not come to it."""
        if (self.folder / ".venv").exists():
            self._shell(". .venv/bin/activate; enrichment down --discard").wait(END_S)

    def _run(self, block: Block, text: str) -> None:
        self.tell(block.text)
        begun_s = time.monotonic()
        process = self._shell(REMEMBER.format(text=text))
        try:
            code = process.wait(BLOCK_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        sys.stdout.write(f"[{time.monotonic() - begun_s:.0f} s, exit code {code}]\n")
        if code:
            raise subprocess.CalledProcessError(code, block.text)

    def _shell(self, text: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            ["bash", "-eu", "-c", text],
            cwd=self.folder,
            env=_plain_environment(),
            stdin=subprocess.DEVNULL,
            stdout=self.transcript.fileno(),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _plain_environment() -> dict[str, str]:
    """A newcomer's: nothing of ours is set, and no environment is activated."""
    ours = ("ENRICHMENT_", "VIRTUAL_ENV", "PYTHONPATH", "MAKE", "MFLAGS")
    return {name: text for name, text in os.environ.items() if not name.startswith(ours)}


@contextmanager
def _clone(folder: Path | None) -> Iterator[Path]:
    """That folder, or a fresh clone of what is committed here."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="hour-") as place:
        clone = Path(place) / "enrichment"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        yield clone


def main() -> int:
    """Walk through the pages; 0 where every block did what it should."""
    parser = argparse.ArgumentParser(prog="python -m tests.docs.hour", description=__doc__)
    parser.add_argument("pages", nargs="*", default=PAGES, help=f"default: {' '.join(PAGES)}")
    parser.add_argument("--folder", type=Path, help="work there, and not in a fresh clone")
    parser.add_argument("--to", type=Path, default=Path("hour"), help="where transcripts go")
    given = parser.parse_args()
    given.to.mkdir(parents=True, exist_ok=True)
    with _clone(given.folder) as clone:
        for page in given.pages:
            to = given.to / f"{Path(page).stem}.txt"
            with to.open("w", encoding="utf-8") as transcript:
                terminals = Terminals(clone, transcript)
                (clone / ".hour-state").unlink(missing_ok=True)
                try:
                    for block in blocks((ROOT / "docs" / page).read_text(encoding="utf-8")):
                        terminals.do(block)
                except subprocess.SubprocessError as error:
                    sys.stderr.write(f"{page}: {error}\nsee {to}\n")
                    return 1
                finally:
                    terminals.end()
                    terminals.take_down()
    return 0


if __name__ == "__main__":
    sys.exit(main())
