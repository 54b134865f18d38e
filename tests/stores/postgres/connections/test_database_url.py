"""URLs as SQLAlchemy, libpq and hosters write them: each parameter is understood, or refused with the cure."""

import pytest
from sqlalchemy.engine import make_url

import perdure
from perdure.commit import NO_STREAM
from perdure.errors import ConfigurationError, PerdureError
from perdure.stores.postgres.connections.database import Database
from perdure.stores.postgres.connections.database_url import DatabaseURL, check_url
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.stores.postgres.races import notes

SECRET = "s3cret"


@pytest.mark.parametrize(
    "scheme",
    [
        "postgres",
        "postgresql",
        "postgresql+asyncpg",
        "postgresql+psycopg",
        "postgresql+psycopg_async",
        "postgresql+psycopg2",
    ],
)
async def test_the_url_of_any_library_opens_a_store(database_url: str, scheme: str) -> None:
    place = database_url.partition("://")[2]

    async with perdure.connect(f"{scheme}://{place}") as store:
        await store.append_to_stream("note-1", NO_STREAM, notes("a"))
        assert [event.global_position for event in await store.read_all_events()] == [1]


@pytest.mark.parametrize(
    "parameters",
    [
        "ssl=prefer&prepared_statement_cache_size=0&timeout=20&command_timeout=30",
        "sslmode=prefer&connect_timeout=20&channel_binding=prefer&gssencmode=disable&client_encoding=utf8",
        "options=-c%20statement_timeout%3D7s&application_name=shop&prepare_threshold=5",
        "fallback_application_name=shop&statement_timeout=7s",
    ],
)
async def test_the_parameters_of_other_libraries_are_understood(database_url: str, parameters: str) -> None:
    url = f"{database_url}{'&' if '?' in database_url else '?'}{parameters}"
    database = Database(url)
    async with database.session() as connection:
        asked_for = await connection.fetchrow(
            "select current_setting('statement_timeout'), current_setting('application_name')"
        )

    assert asked_for is not None
    assert asked_for[0] == ("7s" if "7s" in parameters else "0")
    assert asked_for[1] == ("shop" if "shop" in parameters else "")


@pytest.mark.parametrize(
    ("url", "for_driver"),
    [
        ("postgres://u@h/x", "postgresql://u@h/x"),
        ("postgresql+asyncpg://u:p@h:1/x?ssl=require", "postgresql://u:p@h:1/x?sslmode=require"),
        ("postgresql://u@h/x?ssl=true", "postgresql://u@h/x?sslmode=require"),
        ("postgresql://u@h/x?sslmode=require&ssl=require", "postgresql://u@h/x?sslmode=require"),
        ("postgresql+psycopg://u@/x?host=h1:1&host=h2:2", "postgresql://u@/x?host=h1:1,h2:2"),
        ("postgresql+psycopg://u@/x?host=h1&host=h2&port=1&port=2", "postgresql://u@/x?host=h1,h2&port=1,2"),
        ("postgresql://u@h/?database=x", "postgresql://u@h/?dbname=x"),
        ("postgresql://h/x?user=&sslmode=", "postgresql://h/x"),
        ("postgresql://u@h/x?search_path=a%20b", "postgresql://u@h/x?search_path=a%20b"),
        ("postgresql://u@h/x?fallback_application_name=b&application_name=a", "postgresql://u@h/x?application_name=a"),
        (
            "postgresql+asyncpg://u@h/x?statement_cache_size=0&async_fallback=true&max_cached_statement_lifetime=0",
            "postgresql://u@h/x",
        ),
    ],
)
def test_what_the_driver_is_given(url: str, for_driver: str) -> None:
    assert DatabaseURL.parse(url).for_driver == for_driver


def test_time_limits_of_the_url_apply() -> None:
    url = DatabaseURL.parse("postgresql+asyncpg://u@h/x?timeout=2.5&command_timeout=30")

    assert (url.connect_timeout, url.command_timeout, url.for_driver) == (2.5, 30.0, "postgresql://u@h/x")
    assert DatabaseURL.parse("postgresql://u@h/x?connect_timeout=3").connect_timeout == 3.0


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("channel_binding=require", r"asks for channel_binding, .* leave it out; sslmode=verify-full proves"),
        ("gssencmode=require", "asks for gssencmode, .* leave it out; sslmode=require encrypts"),
        ("hostaddr=10.0.0.1", "asks for hostaddr, .* write the address as the host"),
        ("direct_tls=true", "asks for direct_tls, .* write sslnegotiation=direct"),
        ("client_encoding=latin1", "asks for client_encoding, .* leave it out; Perdure exchanges UTF-8 only"),
        ("keepalives_idle=30", "asks for keepalives_idle, .* leave it out"),
        ("load_balance_hosts=random", "asks for load_balance_hosts, .* leave it out"),
        ("sslmode=require&sslmode=disable", "gives sslmode twice, with different values: leave one out"),
        ("ssl=require&sslmode=disable", "gives sslmode twice, with different values: leave one out"),
        ("connect_timeout=0", "gives connect_timeout, but not as a number of seconds above 0"),
        ("command_timeout=s3cret", "gives command_timeout, but not as a number of seconds above 0"),
        ("host=elsewhere", "gives host twice, with different values: leave one out"),
        ("user=somebody", "gives user twice, with different values: leave one out"),
        ("password=other", "gives password twice, with different values: leave one out"),
        ("dbname=y", "gives dbname twice, with different values: leave one out"),
    ],
)
def test_what_can_not_be_done_is_refused_with_the_cure(query: str, reason: str) -> None:
    for scheme in ("postgresql", "postgresql+asyncpg"):
        url = f"{scheme}://u:{SECRET}@h/x?{query}"
        with pytest.raises(ConfigurationError, match=rf"the database's URL {reason}") as raised:
            PostgreSQLEventStore(url)
        assert SECRET not in str(raised.value)
        with pytest.raises(ConfigurationError):
            PostgreSQLEventStore("postgresql://h/x", direct_url=url)


def test_a_url_that_sqlalchemy_has_masked_is_refused_with_the_cure() -> None:
    url = make_url(f"postgresql+asyncpg://u:{SECRET}@h/x")

    with pytest.raises(ConfigurationError, match=r"SQLAlchemy shows.*render_as_string\(hide_password=False\)"):
        check_url(str(url))
    with pytest.raises(ConfigurationError, match=r"must be text, not URL.*render_as_string\(hide_password=False\)"):
        check_url(url)
    check_url(url.render_as_string(hide_password=False))


@pytest.mark.parametrize(
    ("url", "for_clients"),
    [
        ("postgresql+asyncpg://u:s3cret@h:1/x?ssl=require", "postgresql://u@h:1/x?sslmode=require"),
        ("postgresql://u@h/x?password=s3cret&sslpassword=s3cret&passfile=/p", "postgresql://u@h/x?passfile=/p"),
        ("postgresql://u@h/x?timeout=2.5", "postgresql://u@h/x?connect_timeout=3"),
        ("postgresql://u@h/x?search_path=a%20b", r"postgresql://u@h/x?options=-c%20search_path%3Da%5C%20b"),
        ("postgresql://u@h,i/x", "postgresql://u@h,i/x?target_session_attrs=read-write"),
        ("postgresql://:s3cret@h/x", "postgresql://h/x"),
        ("postgresql:///x?host=/run/pg&port=1", "postgresql:///x?host=/run/pg&port=1"),
    ],
)
def test_other_clients_are_given_no_password(url: str, for_clients: str) -> None:
    parsed = DatabaseURL.parse(url)

    assert parsed.for_clients() == for_clients
    assert Database(url).url == for_clients
    assert SECRET not in repr(parsed)
    assert (SECRET in parsed.for_clients(password=True)) == (SECRET in url)


def test_psql_finds_the_same_database_by_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPORT"):
        monkeypatch.delenv(name, raising=False)
    query = "sslmode=require&timeout=2.5&search_path=a%20b&application_name=shop"
    url = f"postgresql+psycopg://u:p%40q@[::1]:1,h/x%20y?{query}"

    assert DatabaseURL.parse(url).environment() == {
        "PGUSER": "u",
        "PGPASSWORD": "p@q",
        "PGHOST": "::1,h",
        "PGPORT": "1,5432",
        "PGDATABASE": "x y",
        "PGSSLMODE": "require",
        "PGCONNECT_TIMEOUT": "3",
        "PGOPTIONS": r"-c search_path=a\ b",
        "PGTARGETSESSIONATTRS": "read-write",
    }
    assert DatabaseURL.parse("postgresql:///x").environment() == {"PGDATABASE": "x"}


@pytest.mark.parametrize("query", ["ssl=never", "sslmode=never", "nonsense=1"])
async def test_what_only_driver_or_server_know_is_refused_by_them(database_url: str, query: str) -> None:
    url = f"{database_url}{'&' if '?' in database_url else '?'}{query}"
    with pytest.raises(PerdureError, match=r"sslmode|nonsense"):
        async with perdure.connect(url):
            pass


@pytest.mark.parametrize("setting", ["options=-c%20app.key%3DS3C", "app_key=S3C"])
def test_a_setting_that_may_be_secret_is_shown_only_if_secrets_are_asked_for(setting: str) -> None:
    url = DatabaseURL.parse(f"postgresql://ann@db/shop?search_path=shop&{setting}")

    assert "S3C" not in url.for_clients()
    assert "search_path" in url.for_clients()
    assert url.has_secrets
    assert "S3C" in url.for_clients(password=True)
