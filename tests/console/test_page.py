"""The page by its files alone: nothing from elsewhere, nothing parsed as HTML, all of it named."""

import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from enrichment.console.live import FILES
from tests.console.desks import Console

PAGE = files("enrichment.console").joinpath("page")


class Read(HTMLParser):
    """What a page consists of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one."""
        self.tags.append((tag, dict(attrs)))


def text_of(name: str) -> str:
    """A file of the page."""
    return PAGE.joinpath(name).read_text(encoding="utf-8")


def test_every_file_of_the_page_is_served_and_no_other() -> None:
    """The table is the folder, and what is asked for beside it is not there."""
    assert {one.name for one in PAGE.iterdir() if one.is_file()} == set(FILES)
    client = Console().client()
    for name, media in FILES.items():
        answer = client.get(f"/page/{name}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, media)
    assert client.get("/").text == text_of("console.html")
    for outside in ("../live.py", "..%2Flive.py", "nothing.js"):
        assert client.get(f"/page/{outside}").status_code == 404


@pytest.mark.parametrize("name", sorted(FILES))
def test_nothing_comes_from_elsewhere_and_nothing_is_parsed_as_html(name: str) -> None:
    """An id that is a script stays a text: no way from a string to markup is taken."""
    text = text_of(name)
    there = re.findall(r"(?:https?:)?//[a-z][^\s\"'<>]*", text)
    assert [one for one in there if "www.w3.org/2000/svg" not in one] == []
    if name.endswith(".js"):
        for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert way not in text
        assert "Function(" not in text
    else:
        assert not re.search(r"\son\w+=|style=|<style|javascript:", text)


def test_controls_have_names_and_sections_have_titles() -> None:
    """Whoever listens to the page knows where they are and what each field is for."""
    tags = Read(text_of("console.html")).tags
    ids = [of["id"] for _, of in tags if "id" in of]
    assert len(ids) == len(set(ids))
    sections = [of for tag, of in tags if tag == "section"]
    assert len(sections) == 7
    assert all(of["aria-labelledby"] in ids for of in sections)
    targets = [str(of["href"]).removeprefix("#") for tag, of in tags if tag == "a"]
    assert {target for target in targets if not target.startswith("/")} <= set(ids)
    labels = sum(tag == "label" for tag, _ in tags)
    assert labels == sum(tag == "input" for tag, _ in tags)
    html = dict(tags)["html"]
    assert html["lang"] == "en"


def test_every_element_that_scripts_name_is_there() -> None:
    """`$("x")` of any script is an id of the page."""
    ids = {of.get("id") for _, of in Read(text_of("console.html")).tags}
    named = {
        found
        for name in FILES
        if name.endswith(".js")
        for found in re.findall(r"(?:\$|opening)\(\"([\w-]+)\"", text_of(name))
    }
    assert named
    assert named <= ids
