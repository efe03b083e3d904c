"""The page in a real headless Chromium: drawn live, opened by keyboard, on a laptop and a phone.

Screenshots are kept in `.state/screenshots`: whoever changes the page looks at them.
"""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from enrichment.console.app import application
from enrichment.console.folds import Cases
from enrichment.console.serve import listening, serve
from tests.console.chromium import Chromium, Screen, found
from tests.console.desks import JOB, TOKEN, Console, case, killed
from tests.console.served import Answers, made_up

CHROMIUM: Final = found()
SHOTS: Final = Path(__file__).resolve().parents[2] / ".state" / "screenshots"
LAPTOP: Final = Screen(1_280, 900)
PHONE: Final = Screen(390, 844)

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: `make chromium`"),
    pytest.mark.timeout(120),
]


@pytest.fixture
def served() -> Iterator[tuple[str, Console, Answers]]:
    """A console on a port of this machine: its address, and the parts that a test tells."""
    made, answers = made_up()
    made.now = time.monotonic
    stop = threading.Event()
    made.stopping = stop.is_set
    with listening("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(
            target=serve, args=(lambda: application(made.desk(), made.hosts), listener, stop)
        )
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}/", made, answers
        finally:
            stop.set()
            thread.join(20)


@pytest.fixture
def browser(served: tuple[str, Console, Answers], tmp_path: Path) -> Iterator[Chromium]:  # noqa: ARG001
    """A browser with one page, gone before its server is; what it complains of fails the test."""
    assert CHROMIUM is not None
    SHOTS.mkdir(parents=True, exist_ok=True)
    with Chromium(CHROMIUM, tmp_path) as one:
        yield one
        assert one.complaints() == []


def is_within(browser: Chromium) -> bool:
    """Whether nothing is wider than the screen: a phone does not scroll sideways."""
    found: bool = browser.js(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )
    return found


def test_everything_is_drawn_and_fits_a_laptop_and_a_phone(
    browser: Chromium, served: tuple[str, Console, Answers]
) -> None:
    """Live figures, a job with its circuit, a case as a graph, evidence, in either light."""
    url, *_ = served
    browser.look(LAPTOP)
    browser.open(f"{url}#job={JOB.replace('|', '%7C').replace('/', '%2F')}")
    browser.until("document.getElementById('state').textContent === 'live'")
    browser.until("!!document.querySelector('#job button')")
    browser.js("document.querySelector('#job p button').click()")
    browser.until("document.querySelectorAll('#job figure svg').length === 2")
    browser.until("document.querySelector('.circuit img')?.naturalWidth > 0")
    browser.js("location.hash = 'case=case-1'")
    browser.until("document.querySelectorAll('#case svg circle').length >= 3")
    browser.until("document.querySelectorAll('#case figure').length === 2")
    browser.js("document.getElementById('evidence-ask').click()")
    browser.until("document.querySelectorAll('#evidence figure svg').length === 2")
    browser.js("document.querySelector('#lookup-event input').value = 'e-1'")
    browser.js("document.getElementById('lookup-event').requestSubmit()")
    browser.until("!!document.querySelector('#found .tiles')")
    for name, screen, dark in (
        ("laptop-light", LAPTOP, False),
        ("laptop-dark", LAPTOP, True),
        ("phone-light", PHONE, False),
        ("phone-dark", PHONE, True),
    ):
        browser.look(screen, dark=dark)
        assert is_within(browser), name
        browser.shoot(SHOTS / f"console-{name}.png")
    # What was an id with a script in it is a text.
    assert browser.js("document.body.textContent.includes('<script>alert(1)</script>')")
    assert browser.js("document.querySelectorAll('script').length") == 1


def test_the_board_moves_without_being_asked(
    browser: Chromium, served: tuple[str, Console, Answers]
) -> None:
    """What topics say next is on the page within seconds, a switch that was pulled above all."""
    url, made, _ = served
    browser.look(LAPTOP)
    browser.open(url)
    browser.until("document.getElementById('state').textContent === 'live'")
    made.known.controls = killed()
    made.known.troubles = {"flow": "the broker is away"}
    browser.until("document.body.textContent.includes('Nothing above heuristic serves')", 8)
    browser.until("!document.getElementById('trouble').hidden")
    browser.shoot(SHOTS / "console-switch-pulled.png")


def test_by_keyboard_alone_a_case_is_opened_and_the_focus_stays(
    browser: Chromium, served: tuple[str, Console, Answers]
) -> None:
    """Tab reaches it, Enter opens it, what opens has the focus, and no update takes it away."""
    url, made, _ = served
    browser.look(LAPTOP)
    browser.open(url)
    browser.until("!!document.querySelector('[data-key=\"case-1\"]')")
    for _ in range(60):
        browser.press("Tab")
        if browser.js("document.activeElement.dataset.key") == "case-1":
            break
    assert browser.js("document.activeElement.dataset.key") == "case-1"
    made.known.cases = Cases(rows={"case-1": case(), "case-3": case("case-3")})
    browser.until("!!document.querySelector('[data-key=\"case-3\"]')", 8)
    assert browser.js("document.activeElement.dataset.key") == "case-1"
    browser.press("Enter")
    browser.until("document.activeElement.id === 'case'")
    browser.until("!!document.querySelector('#case svg')")


def test_whoever_listens_hears_names_of_everything(
    browser: Chromium, served: tuple[str, Console, Answers]
) -> None:
    """In the accessibility tree every control, table, region and picture has a name."""
    url, *_ = served
    browser.look(LAPTOP)
    browser.open(f"{url}#case=case-1")
    browser.until("!!document.querySelector('#case svg')")
    browser.until("document.querySelectorAll('#flow-stages table').length === 1")
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    wanted = {"button", "link", "textbox", "table", "region", "image", "img", "navigation"}
    named = {
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored") and node["role"]["value"] in wanted
    }
    assert {role for role, _ in named} >= {"button", "link", "textbox", "table", "region"}
    assert [role for role, name in named if not name] == []


def test_a_page_acts_only_after_signing_in(
    browser: Chromium, served: tuple[str, Console, Answers]
) -> None:
    """No lever before; with the token one is there, asks whether it is meant, and pulls."""
    url, _, answers = served
    browser.look(LAPTOP)
    browser.open(url)
    browser.until("!document.getElementById('sign-in').hidden")
    assert browser.js("document.querySelectorAll('#switch button').length") == 0
    browser.js(
        "document.querySelector('#sign-in [name=by]').value = 'kim';"
        f"document.querySelector('#sign-in [name=token]').value = {json.dumps(TOKEN)};"
        "document.getElementById('sign-in').requestSubmit()"
    )
    browser.until("document.querySelectorAll('#switch button').length === 3")
    browser.js("window.confirm = () => true")
    browser.js(
        "document.querySelector('#switch input').value = 'incident 42';"
        "document.querySelector('#switch button').click()"
    )
    browser.until("document.getElementById('said').textContent.includes('done')")
    assert answers.asked[-1][:2] == ("rollout", "kill")
    assert "--by=kim" in answers.asked[-1]
    assert "secret" not in browser.js("document.cookie")
    browser.shoot(SHOTS / "console-signed-in.png")
