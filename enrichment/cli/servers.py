"""`enrichment up | down | status`: the local Kafka and Redis."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from enrichment.cli.app import JsonOption, fail, settings_of

if TYPE_CHECKING:
    from enrichment.lab.servers import LocalServers, ServerStatus

EXIT_NOT_UP: Final = 3  # as `systemctl status` has it

KafkaPort = Annotated[
    int,
    typer.Option(
        help="Kafka's port on loopback; its controller takes the next one.", min=1024, max=65534
    ),
]
RedisPort = Annotated[int, typer.Option(help="Redis's port on loopback.", min=1024, max=65535)]
State = Annotated[
    Path | None,
    typer.Option(
        help="The folder that holds their data, logs and pid files.",
        show_default="ENRICHMENT_STATE_DIR, else .state",
    ),
]

# Written out here, and equal to those of `lab.servers`, by test: importing that room is not free.
DEFAULT_KAFKA_PORT: Final = 19092
DEFAULT_REDIS_PORT: Final = 16379


def register(app: typer.Typer) -> None:
    """Adds the three commands to the top-level application."""
    app.command("up")(up)
    app.command("down")(down)
    app.command("status")(status)


def up(
    context: typer.Context,
    kafka_port: KafkaPort = DEFAULT_KAFKA_PORT,
    redis_port: RedisPort = DEFAULT_REDIS_PORT,
    state: State = None,
    wait_s: Annotated[
        float, typer.Option(help="How long each server may take to answer, in seconds.", min=1)
    ] = 60.0,
) -> None:
    """Start a real Kafka and a real Redis on this machine, without containers.

    They listen on loopback only, outlive this command and keep their data over `down` and `up`.
    The first start brings Kafka's jars with Maven (44 MB). Needs java 17 or newer, mvn and
    redis-server: `scripts/prerequisites` installs what is missing. Servers that run already
    are left as they are.

    Examples:
      enrichment up

      enrichment up --kafka-port 29092 --redis-port 26379 --state /tmp/other
    """
    servers = _servers(context, state, kafka_port, redis_port)
    from enrichment.lab.servers import ServerError

    try:
        _print_table(servers.up(within_s=wait_s))
    except ServerError as problem:
        fail(str(problem))
    typer.echo("They keep running: `enrichment down` stops them, and their data stays.")


def down(
    context: typer.Context,
    state: State = None,
    discard: Annotated[
        bool, typer.Option("--discard", help="Delete their data too, to start again from nothing.")
    ] = False,
) -> None:
    """Stop the Kafka and the Redis that `up` started from this state folder. Their data stays.

    Only processes that are certainly those of this folder are stopped.

    Examples:
      enrichment down

      enrichment down --discard
    """
    servers = _servers(context, state)
    stopped = servers.down()
    typer.echo(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")
    if discard:
        servers.discard()
        typer.echo("their data is gone")


def status(
    context: typer.Context,
    kafka_port: KafkaPort = DEFAULT_KAFKA_PORT,
    redis_port: RedisPort = DEFAULT_REDIS_PORT,
    state: State = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether the local Kafka and Redis answer, and where they are.

    A server is `up` when it answers, `silent` when its process runs and does not, else `down`.
    The exit code is 0 when both are up and 3 when one is not.

    Examples:
      enrichment status

      enrichment status --json
    """
    found = _servers(context, state, kafka_port, redis_port).status()
    if as_json:
        typer.echo(json.dumps({server.name: asdict(server) for server in found}, indent=2))
    else:
        _print_table(found)
    if any(server.state != "up" for server in found):
        raise typer.Exit(EXIT_NOT_UP)


def _servers(
    context: typer.Context,
    state: Path | None,
    kafka_port: int = DEFAULT_KAFKA_PORT,
    redis_port: int = DEFAULT_REDIS_PORT,
) -> "LocalServers":
    from enrichment.lab.servers import LocalServers

    folder = state if state is not None else settings_of(context).state_dir
    return LocalServers(folder, kafka_port=kafka_port, redis_port=redis_port)


def _print_table(found: "tuple[ServerStatus, ...]") -> None:
    for server in found:
        pid = f"pid {server.pid}" if server.pid is not None else ""
        line = f"{server.name:<6} {server.state:<7} {server.address:<16} {pid:<11} {server.detail}"
        typer.echo(line.rstrip())
