"""The loader of pipeline files: shipped ones, and what is said of wrong ones."""

import json
import re
import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrichment.pipelines import PipelineError, load, names, written
from enrichment.pipelines.definition import EXACT_MAX, VARIABLES_MAX
from enrichment.pipelines.loader import parse
from enrichment.provider.contract import CLASSICAL_EXACT_MAX

SHIPPED = Path(__file__).resolve().parents[2] / "enrichment" / "pipelines"
PAYMENTS = (SHIPPED / "payments.toml").read_text()
TABLE = (SHIPPED / "payments.score.toml").read_text()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the score table of payments, where pipeline files of one's own may stand."""
    (tmp_path / "payments.score.toml").write_text(TABLE)
    return tmp_path


def test_the_shipped_pipelines_are_found_by_name() -> None:
    """Each loads, and is called what its file is called."""
    assert names() == ["cards", "payments", "trust"]
    assert [load(name).name for name in names()] == names()


@pytest.mark.parametrize("name", ["cards", "payments", "trust"])
def test_every_term_speaks_of_something(name: str) -> None:
    """A shipped score table reads only roles, fields and aggregates that the file declares."""
    pipeline = load(name)
    aggregated = {each.name for each in pipeline.aggregates}
    for term in pipeline.score.terms:
        for reference in (term.value, term.over):
            if reference is None or reference.startswith("event."):
                continue
            role, _, feature = reference.split(".")
            assert role in pipeline.entities
            for suffix in ("_mean", "_count"):
                if feature.endswith(suffix) and feature not in {"core_mean"}:
                    assert feature.removesuffix(suffix) in aggregated, reference


def test_kinds_and_link_names() -> None:
    """Roles share a kind where the file says so; a link's name tells shared from direct."""
    trust, payments = load("trust"), load("payments")
    assert (trust.kind("source"), trust.kind("target")) == ("user", "user")
    assert [link.name for link in trust.links] == ["source>target"]
    assert payments.kind("account") == "account"
    assert [link.name for link in payments.links] == ["account~device", "account~beneficiary"]
    assert (trust.node_kind, payments.node_kind) == ("user", "account")


def test_the_version_is_the_files_hash(folder: Path) -> None:
    """The same bytes give the same version, and any other bytes another: the score table's too."""
    one = parse(PAYMENTS.encode(), "payments.toml", folder)
    assert one.version == load("payments").version
    assert parse(PAYMENTS.encode() + b"# more\n", "payments.toml", folder).version != one.version
    (folder / "payments.score.toml").write_text(TABLE + "# more\n")
    assert parse(PAYMENTS.encode(), "payments.toml", folder).version != one.version


def test_what_was_read_is_kept_as_it_stands(folder: Path) -> None:
    """Each file under its own name, for the record of changes."""
    pipeline = parse(PAYMENTS.encode(), "somewhere/payments.toml", folder)
    assert pipeline.files == {"payments.toml": PAYMENTS, "payments.score.toml": TABLE}


def test_a_file_of_ones_own_goes_first(folder: Path) -> None:
    """By its name in the folder, or by its path."""
    own = PAYMENTS.replace("size_ms = 2_000", "size_ms = 4_000")
    (folder / "payments.toml").write_text(own)
    (folder / "logins.toml").write_text(PAYMENTS.replace('"payments"', '"logins"', 1))
    assert load("payments").window.size_ms == 2_000
    assert load("payments", folder).window.size_ms == 4_000
    assert load(str(folder / "payments.toml")).window.size_ms == 4_000
    assert load("logins", folder).name == "logins"
    assert names(folder) == ["cards", "logins", "payments", "trust"]


def test_an_unknown_pipeline_is_guessed(tmp_path: Path) -> None:
    """The nearest name, or all of them, or that there is no such file."""
    with pytest.raises(PipelineError, match="no pipeline 'paymets'; did you mean 'payments'"):
        load("paymets")
    with pytest.raises(PipelineError, match="known: cards, payments, trust"):
        load("zzzzzz")
    with pytest.raises(PipelineError, match=r"none\.toml: no such file"):
        load(str(tmp_path / "none.toml"))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("pane_ms = 500", "pane_ms = 0", "window.pane_ms: wanted int >= 1, found 0"),
        ("pane_ms = 500", 'pane_ms = "x"', "window.pane_ms: wanted int, found 'x'"),
        ("pane_ms = 500", "pane_ms = 300", "window.pane_ms: wanted a divisor of size_ms (2000)"),
        ("pane_ms = 500", "pan_ms = 500", "window.pan_ms: there is no such key, did you mean"),
        ("[window]", "[windows]", "windows: there is no such key, did you mean 'window'?"),
        ('id = "event_id"\n', "", "stream.id: is missing"),
        ('name = "payments"', 'name = "Pay ments"', "stream.name: wanted str matching regex"),
        ("horizon_ms = 21_600_000", "horizon_ms = 1", "window.horizon_ms: wanted at least size_ms"),
        ("variables_max = 12", "variables_max = 40", "problem.variables_max: wanted int <= 20"),
        ("stale_ms = 86_400_000", "stale_ms = 1", "features.stale_ms: wanted at least fresh_ms"),
        ("shots = 1_000", "shots = 100\nshots_min = 200", "sampling.shots_min: wanted at most"),
        ("shots = 1_000", "shots = 100\nshots_max = 99", "sampling.shots_max: wanted at least"),
        ('clock = "wall"', 'clock = "moon"', "features.clock: Invalid enum value 'moon'"),
        ('between = "account"\nvia = "device"', 'between = "account"', "links[0]: wanted either"),
        ('via = "device"', 'via = "devise"', "links[0]: wanted an entity (account, beneficiary"),
        ("sensitive = []", 'sensitive = ["amount"]', "stream.sensitive: 'amount' is needed as it"),
        ('serve = "quantum"', 'serve = "qu"', "score.serve: Invalid enum value 'qu'"),
        ('serve = "quantum"', 'sreve = "quantum"', "score.sreve: there is no such key, did you"),
        ('serve = "quantum"', "bias = 1.0", "score.bias: stands in payments.score.toml too"),
        ('"payments.score.toml"', '"own.score.toml"', "score.table: there is no file 'own.score"),
        ('"payments.score.toml"', '"../x.score.toml"', "score.table: wanted the name of a file"),
        ('"payments.score.toml"', "7", "score.table: wanted the name of a file beside this one"),
        ('table = "payments.score.toml"\n', "", "score.version: is missing"),
        (
            "[window]",
            "[rollout]\nuntreated_share = 0.01\n[window]",
            "rollout.untreated_amount_max: wanted above 0 where untreated_share is 0.01",
        ),
        ("[stream]", 'version = "1"\n[stream]', "version: is the file's hash"),
        ("[stream]", "files = {}\n[stream]", "files: are what was read"),
        ("[stream]", "[stream", "not TOML"),
    ],
)
def test_a_wrong_file_is_told_with_its_key(old: str, new: str, said: str, folder: Path) -> None:
    """One line: the file, the key, what was wanted and what was found."""
    assert old in PAYMENTS
    with pytest.raises(PipelineError) as error:
        parse(PAYMENTS.replace(old, new, 1).encode(), "own.toml", folder)
    assert str(error.value).startswith(f"own.toml: {said}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "account.graph.density",
            "acount.graph.density",
            "terms[1].value: there is no entity 'acount', meant 'account'?",
        ),
        (
            "account.graph.density",
            "account.density",
            "terms[1].value: wanted event.FIELD or ROLE.graph|ring.FEATURE",
        ),
        ("elevated = 30.0", "elevated = 90.0", "levels.highest: wanted at least elevated (90)"),
        ("weight = 0.07", 'weight = "x"', "terms[0].weight: wanted float, found 'x'"),
        ("weight = 0.07", "weigth = 0.07", "terms[0].weigth: there is no such key, did you mean"),
        ("[levels]", "[levles]", "levles: there is no such key, did you mean 'levels'?"),
        ("bias = -6.6\n", "", "bias: is missing"),
        ("bias = -6.6", 'bias = -6.6\nserve = "quantum"', "serve: there is no such key"),
        ("bias = -6.6", 'bias = -6.6\ntable = "x"', "table: there is no such key"),
        ("seeds = [101]", "seeds = 101", "provenance.seeds: wanted array, found 101"),
        ("[levels]", "[levels", "not TOML"),
    ],
)
def test_a_wrong_score_table_is_told_with_its_own_file(
    old: str, new: str, said: str, folder: Path
) -> None:
    """The file named is the table's, and the key is as it stands there."""
    assert old in TABLE
    (folder / "payments.toml").write_text(PAYMENTS)
    (folder / "payments.score.toml").write_text(TABLE.replace(old, new, 1))
    with pytest.raises(PipelineError) as error:
        load("payments", folder)
    assert str(error.value).startswith(f"{folder / 'payments.score.toml'}: {said}")
    assert "\n" not in str(error.value)


def test_a_table_beside_or_within_gives_the_same_score(folder: Path) -> None:
    """What stands in the file of its own may as well stand in [score]; only `table` tells."""
    beside = parse(PAYMENTS.encode(), "payments.toml", folder).score
    tables = tomllib.loads(PAYMENTS)
    tables["score"] = {"serve": "quantum"} | tomllib.loads(TABLE)
    content = "\n".join(f"{json.dumps(key)} = {inline(value)}" for key, value in tables.items())
    within = parse(content.encode(), "own.toml").score
    assert (beside.table, within.table) == ("payments.score.toml", "")
    assert msgspec.structs.replace(beside, table="") == within
    assert len(beside.terms) == 12


def test_a_table_of_ones_own_must_be_there(tmp_path: Path) -> None:
    """A pipeline file whose table was forgotten does not get the shipped one's weights."""
    (tmp_path / "payments.toml").write_text(PAYMENTS)
    with pytest.raises(PipelineError, match=r"score\.table: there is no file 'payments\.score"):
        load("payments", tmp_path)


def test_a_score_table_is_no_pipeline(folder: Path) -> None:
    """It is not listed as one, and where it is named as one the error says what it is."""
    assert names(folder) == ["cards", "payments", "trust"]
    with pytest.raises(PipelineError, match=r"payments\.score\.toml: is a score table"):
        load(str(folder / "payments.score.toml"))


@pytest.mark.parametrize("name", ["cards", "payments", "trust"])
def test_a_shipped_table_says_how_it_came_to_be(name: str) -> None:
    """And one that was fitted on a simulated stream was judged on another seed."""
    provenance = load(name).score.provenance
    assert provenance is not None
    assert provenance.method in {"by hand", "logistic regression"}
    assert not set(provenance.seeds) & set(provenance.judged_seeds)


def test_a_label_may_not_be_scored(folder: Path) -> None:
    """A term that reads the label's field would know the answer."""
    labelled = PAYMENTS.replace("[entities]", '[labels]\nfield = "amount"\n\n[entities]', 1)
    with pytest.raises(PipelineError, match=r"score\.toml: terms\[0\]\.value: bears"):
        parse(labelled.encode(), "own.toml", folder)


def test_an_aggregate_of_labels_needs_labels(folder: Path) -> None:
    """And its entity must be one of the stream's."""
    aggregate = '[[aggregates]]\nname = "risk"\nentity = "device"\nfield = "label"\n\n[window]'
    with pytest.raises(PipelineError, match=r"aggregates\[0\]\.field: is 'label', but there are"):
        parse(PAYMENTS.replace("[window]", aggregate, 1).encode(), "own.toml", folder)
    elsewhere = aggregate.replace("device", "devise").replace("label", "amount")
    with pytest.raises(PipelineError, match=r"aggregates\[0\]\.entity: wanted an entity \(acc"):
        parse(PAYMENTS.replace("[window]", elsewhere, 1).encode(), "own.toml", folder)


JSON = st.recursive(
    st.one_of(
        st.integers(-10, 10**12), st.booleans(), st.text('az._- "', max_size=5), st.floats(-9, 9)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.text("abc", max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


def places(node: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in nested tables and lists."""
    inner: list[tuple[str | int, object]] = []
    if isinstance(node, dict):
        inner = list(node.items())
    elif isinstance(node, list):
        inner = list(enumerate(node))
    return [each for key, value in inner for each in [(*path, key), *places(value, (*path, key))]]


def inline(value: object) -> str:
    """The value in TOML, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {inline(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return json.dumps(value)


@given(data=st.data())
def test_no_file_makes_the_loader_stumble(data: st.DataObject) -> None:
    """Whatever stands in one place of a file: it loads, or the error names the file, in a line."""
    tables = tomllib.loads(PAYMENTS)
    tables["score"] = {"serve": "quantum"} | tomllib.loads(TABLE)
    path = data.draw(st.sampled_from(places(tables)))
    place = tables
    for key in path[:-1]:
        place = place[key]  # type: ignore[index]  # a path that `places` found
    place[path[-1]] = data.draw(JSON)  # type: ignore[index]
    content = "\n".join(f"{json.dumps(key)} = {inline(value)}" for key, value in tables.items())
    said = ""
    try:
        parse(content.encode(), "own.toml")
    except PipelineError as error:
        said = str(error)
    assert said == "" or said.startswith("own.toml: ")
    assert "\n" not in said


PROBABILITY = """
version = "payments-ring-1"
[sampled]
path = "quantum"
sampler = "qsim"
layers = 2
shots = 1000
problem = "ring"
variables_max = 12
weight_min = 0.35
[[steps]]
kind = "account"
share = 0.03
surplus = [0.0, 2.5]
probability = [0.01, 0.25]
[provenance]
method = "by hand"
"""
NAMED = PAYMENTS.replace("layers = 2", 'layers = 2\nprobability = "payments.probability.toml"')


def test_a_calibration_beside_is_part_of_the_pipeline(folder: Path) -> None:
    """Read where [sampling] names it, in the version's hash; without the name it is not there."""
    beside = folder / "payments.probability.toml"
    beside.write_text(PROBABILITY)
    pipeline = parse(NAMED.encode(), "payments.toml", folder)
    assert pipeline.probability is not None
    steps = pipeline.probability.of("quantum", "qsim", "account")
    assert steps is not None
    assert [steps.at(surplus) for surplus in (-1.0, 0.0, 2.4, 2.5, 99.0)] == [
        0.01, 0.01, 0.01, 0.25, 0.25,
    ]  # fmt: skip
    assert pipeline.probability.of("quantum", "qsim", "device") is None
    beside.write_text(PROBABILITY.replace("0.25]", "0.24]"))
    assert parse(NAMED.encode(), "payments.toml", folder).version != pipeline.version
    assert parse(PAYMENTS.encode(), "payments.toml", folder).probability is None
    assert names(folder) == ["cards", "payments", "trust"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("0.0, 2.5]", "2.5, 0.0]", "steps[0]: surplus must rise"),
        ("0.0, 2.5]", "nan, 2.5]", "steps[0]: surplus must rise"),
        ("0.01, 0.25]", "0.25, 0.01]", "steps[0]: probability must not fall"),
        ("0.01, 0.25]", "0.25]", "steps[0]: surplus and probability must have the same length"),
        ("0.01, 0.25]", "0.01, 1.25]", "steps[0].probability[1]"),
        ("layers = 2", "layers = 1", "sampled: layers is 2, and was 1: fit it anew"),
        ('"qsim"', '"virtual"', "sampled: sampler is qsim, and was virtual"),
        ('"quantum"', '"classical"', "sampled: sampler is exact, and was qsim, layers is 0"),
        ("version =", "versio =", "versio: there is no such key, did you mean 'version'?"),
    ],
)
def test_a_calibration_of_something_else_is_refused(
    old: str, new: str, said: str, folder: Path
) -> None:
    """A map that is none, or one of another sampler's memberships, told with its own file."""
    assert old in PROBABILITY
    (folder / "payments.probability.toml").write_text(PROBABILITY.replace(old, new))
    with pytest.raises(PipelineError) as refused:
        parse(NAMED.encode(), str(folder / "payments.toml"), folder)
    assert str(refused.value).startswith(str(folder / "payments.probability.toml"))
    assert said in str(refused.value)


def test_a_calibration_that_is_named_must_be_there(folder: Path) -> None:
    """Beside the file and nowhere else; and it is no pipeline."""
    with pytest.raises(PipelineError, match="there is no file 'payments"):
        parse(NAMED.encode(), "payments.toml", folder)
    with pytest.raises(PipelineError, match="is a calibration; name the pipeline"):
        load("payments.probability.toml")


def test_whose_memberships_a_path_has() -> None:
    """The exact solver's on the classical path as long as problems are small; else no one's."""
    pipeline = parse(PAYMENTS.encode(), "p.toml", SHIPPED)
    classical, quantum = pipeline.sampled("classical"), pipeline.sampled("quantum")
    assert classical is not None
    assert quantum is not None
    assert (classical.sampler, classical.layers) == ("exact", 0)
    assert (quantum.sampler, quantum.layers) == ("qsim", 2)
    assert pipeline.sampled("heuristic") is None
    assert EXACT_MAX == CLASSICAL_EXACT_MAX
    large = msgspec.structs.replace(pipeline.problem, variables_max=EXACT_MAX + 1)
    assert msgspec.structs.replace(pipeline, problem=large).sampled("classical") is None
    annealing = msgspec.structs.replace(pipeline.sampling, provider="annealing")
    chosen = msgspec.structs.replace(pipeline, sampling=annealing)
    assert chosen.sampled("quantum") is None
    annealed = chosen.sampled("classical")
    assert annealed is not None
    assert annealed.sampler == "annealing"


def test_what_a_file_says_is_told_from_defaults(tmp_path: Path) -> None:
    """By dotted keys; of a list of tables, that it is there."""
    assert {"window.size_ms", "links", "sampling.provider", "score.serve"} <= written("payments")
    assert not {"window.keep_ms", "rollout.gate.margin", "sampling.fallback"} & written("payments")
    file = tmp_path / "own.toml"
    file.write_text("[rollout.gate]\nmargin = 0.02\n")
    assert written(str(file)) == {"rollout", "rollout.gate", "rollout.gate.margin"}
    with pytest.raises(PipelineError, match="did you mean"):
        written("paymets")


CALLS = '[stream]\nname = "calls"\n\n[calls]\nentity = "account"\n'


def test_a_pipeline_of_calls_need_not_say_what_events_mean() -> None:
    """Two lines are enough: the kind of the nodes is the file's, and no ring becomes a case."""
    pipeline = parse(CALLS.encode(), "calls.toml")
    assert (pipeline.name, pipeline.node_kind) == ("calls", "account")
    assert pipeline.cases.members_min > VARIABLES_MAX
    assert pipeline.files == {"calls.toml": CALLS}
    wanted = parse(f"{CALLS}[cases]\nmembers_min = 4\n".encode(), "calls.toml")
    assert wanted.cases.members_min == 4
    assert load("payments").calls is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{CALLS}[window]\nsize_ms = 1000\n", "window: is about events"),
        (f"{CALLS}[score]\ntable = 'x.score.toml'\n", "score"),
        (CALLS.replace("[calls]", 'key = "a"\n[calls]'), "stream.key: is about events"),
        (CALLS.replace("account", "Account"), "calls.entity: wanted str matching"),
        (CALLS.replace("entity", "entety"), "calls.entety: there is no such key, did you mean"),
        (CALLS.replace("name", "amount_scale"), "stream.amount_scale"),
    ],
)
def test_what_is_of_events_is_refused_where_there_are_none(text: str, said: str) -> None:
    """A key that would change nothing is an error, and the file's own words are in it."""
    with pytest.raises(PipelineError, match=re.escape(said)):
        parse(text.encode(), "calls.toml")
