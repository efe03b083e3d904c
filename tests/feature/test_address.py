"""The cache's URL: every form that is documented, clear errors, and no password shown anywhere."""

# ruff: noqa: S105, S106  # passwords that open nothing

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enrichment.feature.address import Address, AddressError, Kind, Login, Tls
from enrichment.settings import Settings
from enrichment.wiring.clients import redis_address


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", Address(kind=Kind.SERVER, hosts=(("h", 6379),))),
        ("redis://h:1/3", Address(kind=Kind.SERVER, hosts=(("h", 1),), db=3)),
        ("redis://h:1?db=3", Address(kind=Kind.SERVER, hosts=(("h", 1),), db=3)),
        ("redis://[::1]:7/0", Address(kind=Kind.SERVER, hosts=(("::1", 7),))),
        ("redis://[::1]", Address(kind=Kind.SERVER, hosts=(("::1", 6379),))),
        (
            "rediss://u:p%40s%2Fs@h/0?ssl_ca_certs=/ca&ssl_certfile=/c&ssl_keyfile=/k",
            Address(
                kind=Kind.SERVER,
                hosts=(("h", 6379),),
                login=Login(username="u", password="p@s/s"),
                tls=Tls(ca_file="/ca", cert_file="/c", key_file="/k"),
            ),
        ),
        (
            "rediss://h?ssl_check_hostname=false",
            Address(kind=Kind.SERVER, hosts=(("h", 6379),), tls=Tls(check_hostname=False)),
        ),
        (
            "unix://:p@/run/redis.sock?db=2",
            Address(kind=Kind.SOCKET, path="/run/redis.sock", db=2, login=Login(password="p")),
        ),
        (
            "redis+sentinel://u:p@h1:1,h2/pay%20ments/4?sentinel_username=s&sentinel_password=q",
            Address(
                kind=Kind.SENTINEL,
                hosts=(("h1", 1), ("h2", 26379)),
                service="pay ments",
                db=4,
                login=Login(username="u", password="p"),
                sentinel_login=Login(username="s", password="q"),
            ),
        ),
        (
            "redis+cluster://h1:1,[::1]:2,h3",
            Address(kind=Kind.CLUSTER, hosts=(("h1", 1), ("::1", 2), ("h3", 6379))),
        ),
        (
            "rediss+cluster://h1",
            Address(kind=Kind.CLUSTER, hosts=(("h1", 6379),), tls=Tls()),
        ),
        (
            "rediss+sentinel://h1/s",
            Address(kind=Kind.SENTINEL, hosts=(("h1", 26379),), service="s", tls=Tls()),
        ),
    ],
)
def test_a_url_is_read(url: str, expected: Address) -> None:
    """Hosts, ports, database, service, login and TLS, with their defaults."""
    assert Address.parse(url) == expected


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "begins with one of redis://, rediss://, unix://"),
        ("http://h", "begins with one of"),
        ("redis://", "a host is missing"),
        ("redis://:6379", "a host is missing"),
        ("redis://h:0", "a port is a number"),
        ("redis://h:65536", "a port is a number"),
        ("redis://u:top/secret@h", "%2F"),
        ("redis://u:top#secret@h", "%23"),
        ("redis://h1,h2", "redis+sentinel://h1,h2/SERVICE or redis+cluster://h1,h2"),
        ("redis://h/x", "the database is a number"),
        ("redis://h/1/2", "too many parts"),
        ("redis+sentinel://h1,h2", "service is missing"),
        ("redis+cluster://h/1", "one database only"),
        ("redis+cluster://h1,,h2", "a host is missing"),
        ("redis://h?ssl_ca_certs=/x", "rediss://"),
        ("redis://h?typo=1", "a query parameter is unknown"),
        ("redis://h?db=1&db=2", "given twice"),
        ("rediss://h?ssl_check_hostname=perhaps", "true or false"),
        ("rediss://h?ssl_keyfile=/k", "without ssl_certfile"),
        ("unix://h/x", "three slashes"),
        ("unix:///", "three slashes"),
        ("redis://[::1", "not a URL"),
        (f"redis://{'a' * 70}", "no name that could be looked up"),
    ],
)
def test_a_bad_url_says_what_to_change(url: str, said: str) -> None:
    """In words of its own, without what stood there: that may have been the password."""
    with pytest.raises(AddressError) as raised:
        Address.parse(url)
    assert said in str(raised.value)
    assert "secret" not in str(raised.value)


SCHEMES = ["redis", "rediss", "redis+sentinel", "redis+cluster", "unix", "http", "redis+cluster "]


@given(
    scheme=st.sampled_from(SCHEMES),
    prefix=st.sampled_from(["u:", ":", "", "u"]),
    escaped=st.booleans(),
    rest=st.sampled_from(["h:1", "h/s/0", "h:x", "[::1", "/run/s", "h?typo=1", "h?db=x", "h,,i"]),
    filler=st.text("ab/@:?#[]%&=", max_size=4),
)
def test_no_password_is_ever_shown(
    scheme: str, prefix: str, escaped: bool, rest: str, filler: str
) -> None:
    """Neither by an error nor by what is parsed, whatever characters it has, escaped or not."""
    password = f"hunter2{filler}hunter2"
    given_ = quote(password, safe="") if escaped else password
    error, found = None, None
    try:
        found = Address.parse(f"{scheme}://{prefix}{given_}@{rest}")
    except AddressError as raised:
        error = raised
    assert "hunter2" not in str(error)
    if found is not None and escaped and prefix.endswith(":"):
        assert found.login.password == password
        assert "hunter2" not in str(found) + repr(found) + found.where


@pytest.mark.parametrize(
    "url",
    ["redis://h:1/3", "rediss://h:1/0", "unix:///run/s?db=1", "redis+sentinel://h:1,i:2/s/0",
     "redis+cluster://h:1,[::1]:2", "rediss+cluster://h:1"],
)  # fmt: skip
def test_what_is_shown_is_a_url_again(url: str) -> None:
    """Apart from its login and files."""
    assert str(Address.parse(url)) == url
    assert Address.parse(str(Address.parse(url))) == Address.parse(url)


def test_settings_take_any_cache_and_show_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """A password may come beside the URL; settings, shown or dumped, hold it back."""
    monkeypatch.setenv("ENRICHMENT_REDIS_URL", "redis+cluster://u:hunter2@h1:1,h2:2")
    settings = Settings()
    assert settings.redis_url.login.password == "hunter2"
    for shown in (repr(settings), str(settings.model_dump()), settings.model_dump_json()):
        assert "hunter2" not in shown
    assert '"redis+cluster://h1:1,h2:2"' in settings.model_dump_json()
    monkeypatch.setenv("ENRICHMENT_REDIS_URL", "redis://u@h1:1")
    monkeypatch.setenv("ENRICHMENT_REDIS_PASSWORD", "hunter3")
    settings = Settings()
    assert redis_address(settings).login == Login(username="u", password="hunter3")
    assert "hunter3" not in repr(settings) + settings.model_dump_json()


def test_a_bad_setting_is_refused_without_its_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the way out and not the URL."""
    monkeypatch.setenv("ENRICHMENT_REDIS_URL", "redis://u:hunter2@h1,h2")
    with pytest.raises(ValueError, match="redis\\+sentinel") as raised:
        Settings()
    assert "hunter2" not in str(raised.value)
