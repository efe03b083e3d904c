"""`enrichment score`: explanations and verifications from files."""

import importlib.util
import json
from pathlib import Path

import pytest
from typer.testing import Result

from enrichment.cli import score
from enrichment.lab.verify import SHOWN_MAX, Verified, verify
from enrichment.settings import Settings
from tests.cli.commands import runner_of
from tests.lab.recordings import PAYMENTS, drawn, enriched, used

run = runner_of(score.register)
EVENT = {"event_id": "e1", "occurred_at": 1_700_000_000_000, "amount": 100.0}
RESCORES = importlib.util.find_spec("enrichment.enrich.rescore") is not None


def run_score(*arguments: object) -> Result:
    """The command, with no broker behind it."""
    return run("score", *map(str, arguments), settings=Settings(kafka_bootstrap="127.0.0.1:1"))


@pytest.fixture
def event(tmp_path: Path) -> Path:
    """One enriched record in a file, with what two paths know."""
    features = [
        used("device", "graph", values={"known_bad_near": 0.5}),
        used("device", "ring", quantum={"membership": 0.9}, classical={"membership": 0.1}),
    ]
    path = tmp_path / "event.json"
    path.write_bytes(enriched(EVENT, features))
    return path


def test_an_explanation_for_people(event: Path) -> None:
    """Every path's terms with operands, then score, level, decision and what the record says."""
    result = run_score("--explain", event)
    assert result.exit_code == 0, result.output
    for said in ("quantum, which serves", "classical", "heuristic", "+2.500000", "+1.260000"):
        assert said in result.stdout
    assert "by this table" in result.stdout
    assert "normal, approve" in result.stdout


def test_an_explanation_for_programs(event: Path) -> None:
    """The same as JSON: the largest part first, adding up to the log-odds."""
    result = run_score("--explain", event, "--json")
    shown = json.loads(result.stdout)
    assert (shown["path"], list(shown["paths"])) == (
        "quantum",
        ["quantum", "classical", "heuristic"],
    )
    terms = shown["paths"]["quantum"]["terms"]
    parts = [each["contribution"] for each in terms]
    assert [abs(part) for part in parts] == sorted((abs(part) for part in parts), reverse=True)
    assert shown["bias"] + sum(parts) == pytest.approx(shown["paths"]["quantum"]["log_odds"])
    assert terms[0]["value"] == {"of": "device.graph.known_bad_near", "is": 0.5}
    assert shown["recorded"]["same_table"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "say either --explain EVENT.json or --verify"),
        (("--verify",), "say what to verify"),
        (("--verify", "x.jsonl", "--from-topic"), "say what to verify"),
        (("--verify", "--explain", "x.json"), "say either"),
        (("--explain", "none.json"), "none.json: no such file"),
        (("--explain", "none.json", "--from-topic"), "neither a file nor --from-topic"),
    ],
)
def test_wrong_usage_says_what_to_say(arguments: tuple[str, ...], said: str) -> None:
    """Exit code 2 and one line."""
    result = run_score(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def _verified(values: list[bytes], again: dict[bytes, bytes]) -> Verified:
    records = ((f"x:{number}", value) for number, value in enumerate(values, 1))
    return verify(PAYMENTS, lambda value: again.get(value, value), records)


def test_a_difference_is_shown_where_it_begins() -> None:
    """The place, the event, the first byte that differs and what stands there on both sides."""
    good, bad = (each.value for each in drawn(1, 2))
    changed = bad.replace(b'"level":"normal"', b'"level":"highest"')
    done = _verified([good, bad], {bad: changed})
    assert (done.compared, done.mismatched) == (2, 1)
    [shown] = done.shown
    assert (shown.where, shown.at_byte) == ("x:2", bad.index(b'normal"'))
    assert "normal" in shown.recorded
    assert "highest" in shown.rescored


def test_a_record_cut_short_differs_at_its_end() -> None:
    """Bytes that are missing are a difference, too."""
    [each] = drawn(1, 1)
    done = _verified([each.value], {each.value: each.value[:-1]})
    assert done.shown[0].at_byte == len(each.value) - 1


def test_records_of_another_table_are_counted_apart() -> None:
    """By score version and pipeline version; they are no mismatch."""
    values = [each.value for each in drawn(1, 6)]
    older = [value.replace(b'"payments-1"', b'"payments-0"') for value in values[:2]]
    done = _verified([*older, *values[2:]], dict.fromkeys(older, b""))
    assert (done.compared, done.mismatched, done.read) == (4, 0, 6)
    assert done.others == {("payments-0", PAYMENTS.version): 2}


def test_only_the_first_differences_are_kept() -> None:
    """All are counted."""
    values = [each.value for each in drawn(1, 50)]
    done = _verified([*values, b"nonsense"], dict.fromkeys(values, b""))
    assert (done.compared, done.mismatched, len(done.shown)) == (51, 51, SHOWN_MAX)


def test_no_more_than_asked_for_is_read() -> None:
    """An endless source ends with --events."""
    [each] = drawn(1, 1)
    endless = (("x", each.value) for _ in iter(int, 1))
    assert verify(PAYMENTS, lambda value: value, endless, events_max=7).compared == 7


@pytest.mark.skipif(not RESCORES, reason="enrichment.enrich.rescore comes with the new hot path")
class TestRescored:
    """Records scored again by the hot path's own hand."""

    def test_a_record_gives_the_same_bytes_again(self, tmp_path: Path) -> None:
        """Five hundred records, whatever was known of their entities; exit code 0."""
        path = tmp_path / "x.jsonl"
        path.write_bytes(b"".join(each.value + b"\n" for each in drawn(1, 500)))
        result = run_score("--verify", path, "--json")
        assert result.exit_code == 0, result.output
        report = json.loads(result.stdout)
        assert (report["compared"], report["mismatched"]) == (500, 0)

    def test_a_forged_score_is_found(self, tmp_path: Path) -> None:
        """Exit code 1, and the record's place."""
        values = [each.value for each in drawn(1, 3)]
        values[1] = values[1].replace(b'"served":', b'"served":9')
        path = tmp_path / "x.jsonl"
        path.write_bytes(b"\n".join(values))
        result = run_score("--verify", path)
        assert result.exit_code == 1
        assert f"{path}:2" in result.stdout
        assert "1 of 3 records came out differently" in result.stderr

    def test_nothing_to_compare_is_no_success(self, tmp_path: Path) -> None:
        """Where every record is another table's, the exit code is 1 and says which."""
        path = tmp_path / "x.jsonl"
        path.write_bytes(drawn(1, 1)[0].value.replace(b'"payments-1"', b'"payments-0"'))
        result = run_score("--verify", path)
        assert result.exit_code == 1
        assert "nothing to compare with table payments-1" in result.stderr
        assert "payments-0" in result.stderr
