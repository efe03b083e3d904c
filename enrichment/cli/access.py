"""`enrichment access kafka | redis`: what each role may do, as those want to be told it."""

import json
from enum import Enum
from typing import Annotated

import typer

from enrichment.access import REDIS, Role
from enrichment.cli.app import JsonOption, PipelineOption, pipeline_or_fail, settings_of


class Authentication(Enum):
    """How a user proves who it is, as Strimzi names it."""

    SCRAM = "scram-sha-512"
    TLS = "tls"


def register(app: typer.Typer) -> None:
    """Adds the noun to the top-level application."""
    access = typer.Typer(
        no_args_is_help=True, help="Say what each role may do on Kafka and on Redis, and no more."
    )
    access.command("kafka")(kafka)
    access.command("redis")(redis)
    app.add_typer(access, name="access")


def kafka(
    context: typer.Context,
    pipeline: PipelineOption = "payments",
    roles: Annotated[
        list[Role] | None,
        typer.Option("--role", help="Only this role; may be given several times."),
    ] = None,
    authentication: Annotated[
        Authentication,
        typer.Option("--authentication", help="A password by SCRAM, or a client's certificate."),
    ] = Authentication.SCRAM,
    cluster: Annotated[
        str, typer.Option("--cluster", help="The name of the Kafka resource that Strimzi runs.")
    ] = "kafka",
    as_json: JsonOption = False,
) -> None:
    """Print the users that a pipeline needs of Kafka, each with its least privilege.

    As Strimzi's KafkaUser resources, for `kubectl apply -f -`; `--json` prints the rules for any
    other way of telling a broker. No server is asked.

    A sampler whose pipeline names a device with calibrations may also write `enrichment.control`,
    since it says there that the device was calibrated anew.

    Exit codes: 0 printed, 2 not understood.

    Examples:
      enrichment access kafka -p payments > deploy/kubernetes/users/payments.yaml

      enrichment access kafka -p payments --role enrich --role window --json
    """
    from enrichment.access import access_of, user_of
    from enrichment.provider import CALIBRATED
    from enrichment.stream.users import manifest, manifests_text

    definition = pipeline_or_fail(pipeline, settings_of(context))
    name = definition.name
    calibrated = not CALIBRATED.isdisjoint(definition.sampling.chain)
    found = {
        role: access_of(role, name, calibrated=calibrated).rules() for role in roles or list(Role)
    }
    if as_json:
        rows = [
            {
                "role": role.value,
                "user": user_of(role, name),
                "resource": rule.kind.value,
                "name": rule.name,
                "prefixed": rule.prefixed,
                "operations": [each.value for each in rule.operations],
            }
            for role, rules in found.items()
            for rule in rules
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    text = manifests_text(
        manifest(user_of(role, name), rules, authentication.value, cluster)
        for role, rules in found.items()
    )
    typer.echo(
        f"# Made by `enrichment access kafka -p {name}`: what each role may do.\n{text}", nl=False
    )


def redis(
    context: typer.Context,
    pipeline: PipelineOption = "payments",
    as_json: JsonOption = False,
) -> None:
    """Print the users that a pipeline needs of Redis, as lines of an ACL file.

    Each is without a password, so that nobody can log in as it: add `#` and the password's SHA-256
    to its line (`printf %s "$PASSWORD" | sha256sum`). The default user is turned off. No server is
    asked.

    Exit codes: 0 printed, 2 not understood.

    Examples:
      enrichment access redis -p payments > users.acl

      enrichment access redis --json
    """
    from enrichment.access import redis_rules

    name = pipeline_or_fail(pipeline, settings_of(context)).name
    if as_json:
        typer.echo(json.dumps({user: redis_rules(user, name) for user in REDIS}, indent=2))
        return
    typer.echo("user default off")
    for user in REDIS:
        typer.echo(f"user {user} on {redis_rules(user, name)}")
