"""What stands in the pages: their fenced blocks, their commands, their headings and links."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
SHELLS: Final = frozenset({"", "sh", "console", "bash"})
FENCE: Final = re.compile(
    r"^(?:<!-- file: (?P<file>\S+) -->\n)?```(?P<info>[^\n`]*)\n(?P<text>.*?)^```", re.M | re.S
)
HEADING: Final = re.compile(r"^(#{1,6})\s+(.*?)\s*$", re.M)
LINK: Final = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: its language, how it is run, and the file it shows.

    One that is `offline` needs no servers; one in the `background` has a terminal of its own.
    """

    language: str
    offline: bool
    background: bool
    file: str | None
    text: str


def pages() -> list[Path]:
    """Every page that people read: the README and all under docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    for found in FENCE.finditer(text):
        language, _, rest = found["info"].strip().partition(" ")
        offline, background = rest == "offline", rest == "background"
        yield Block(language, offline, background, found["file"], found["text"])


def commands(text: str) -> Iterator[str]:
    """Every `enrichment ...` of a page's shells and indented blocks, without what is around it."""
    shells = [block.text for block in blocks(text) if block.language in SHELLS]
    rest = FENCE.sub("", text)
    indented = [line.strip() for line in rest.splitlines() if line.startswith("    ")]
    for line in (*"\n".join(shells).replace("\\\n", " ").splitlines(), *indented):
        command = line.strip().removeprefix("$ ")
        command = re.sub(r"^([A-Z_]+=\S+ +)+", "", command)
        for part in command.split(";"):
            if part.strip().startswith("enrichment "):
                yield re.split(r"\s+(#|>|&|\||2>)", part.strip())[0].rstrip("&").strip()


def anchors(text: str) -> set[str]:
    """The names that GitHub, and the site, give to a page's headings."""
    found: set[str] = set()
    for _, title in HEADING.findall(FENCE.sub("", text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("`", "")
        name = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        number = 0
        while (each := name if number == 0 else f"{name}-{number}") in found:
            number += 1
        found.add(each)
    return found


def links(text: str) -> Iterator[str]:
    """Where a page's links lead, those of its code left out."""
    plain = re.sub(r"`[^`\n]*`", "", FENCE.sub("", text))
    yield from LINK.findall(plain)
