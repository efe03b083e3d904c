"""`enrichment budget show`: what a day's sampling has cost, by the ledger, and what it may cost."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from enrichment.cli.app import JsonOption, fail, pipeline_or_fail, settings_of

if TYPE_CHECKING:
    from enrichment.pipelines import Pipeline
    from enrichment.sample.budget import Claim
    from enrichment.settings import Settings

EXIT_UNKNOWN: Final = 2
EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One sum, in millionths: `reserved` is what may yet be billed, and `counted` the counter's."""

    scope: str
    limit_micro: int | None
    spent_micro: int
    reserved_micro: int
    counted_micro: int | None

    @property
    def left_micro(self) -> int | None:
        """What may still be granted, by the ledger; None without a limit."""
        if self.limit_micro is None:
            return None
        return self.limit_micro - self.spent_micro - self.reserved_micro


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterSeen:
    """What the counter in Redis says: `present`, `missing` or `away`."""

    state: str
    claims: int = 0
    sums: tuple[int, ...] = ()
    detail: str = ""


def register(app: typer.Typer) -> None:
    """Adds the noun to the top-level application."""
    budget = typer.Typer(no_args_is_help=True, help="See what sampling costs.")
    budget.callback()(_group)
    budget.command("show")(show)
    app.add_typer(budget, name="budget")


def _group() -> None:
    """See what sampling costs."""


def show(
    context: typer.Context,
    pipeline: Annotated[
        str | None,
        typer.Option("--pipeline", "-p", help="Only the sums that limit this pipeline."),
    ] = None,
    day: Annotated[
        str | None, typer.Option(help="A UTC day, such as 2026-11-28; today by default.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what was spent and is reserved in a day, by the ledger, and what may still be.

    The ledger is the truth; the counter in Redis is what workers ask, and may show more until it is
    corrected. Where it is missing nothing paid is begun before a worker has built it anew.

    Examples:
      enrichment budget show

      enrichment budget show --pipeline payments --day 2026-11-28 --json
    """
    from enrichment.sample.budget import BudgetAwayError
    from enrichment.sample.spending import spending
    from enrichment.wiring.clients import kafka_config

    settings = settings_of(context)
    number = _day(day)
    chosen = None if pipeline is None else pipeline_or_fail(pipeline, settings)
    try:
        claims = spending(kafka_config(settings, "budget")).get(number, {})
    except BudgetAwayError as error:
        fail(f"{error}; Kafka is {settings.kafka_bootstrap}, topics come by `topics apply`")
    limits = _limits(settings, chosen)
    names = _scopes(claims, limits, chosen)
    seen = _counter(settings, number, names)
    rows = list(_rows(names, claims, limits, seen))
    shown_day = date.fromordinal(EPOCH.toordinal() + number).isoformat()
    if as_json:
        told = [asdict(row) | {"left_micro": row.left_micro} for row in rows]
        counter = {"state": seen.state, "claims": seen.claims, "detail": seen.detail}
        said = {"day": shown_day, "claims": len(claims), "sums": told, "counter": counter}
        typer.echo(json.dumps(said, indent=2))
        return
    typer.echo(f"{shown_day} (UTC), {len(claims)} paid attempts in the ledger")
    _print(rows)
    typer.echo(_told(seen))


def _day(text: str | None) -> int:
    """The day's number, counted since 1970."""
    if text is None:
        wanted = datetime.now(UTC).date()
    else:
        try:
            wanted = date.fromisoformat(text)
        except ValueError:
            fail(f"'{text}' is no day: write it like 2026-11-28", EXIT_UNKNOWN)
    return (wanted - EPOCH).days


def _limits(settings: "Settings", chosen: "Pipeline | None") -> dict[str, int]:
    """Scope -> millionths, for every scope that has a limit."""
    from enrichment.pipelines import PipelineError, load, names
    from enrichment.sample.budget import ALL
    from enrichment.wiring.money import allowance_of

    pipelines = [] if chosen is None else [chosen]
    for name in names(settings.pipelines_dir) if chosen is None else ():
        try:
            pipelines.append(load(name, settings.pipelines_dir))
        except PipelineError as error:
            typer.secho(f"left out: {error}", err=True)
    allowance = allowance_of(settings, *pipelines)
    found = {} if allowance.all is None else {ALL: allowance.all}
    found |= {f"pipeline:{name}": micro for name, micro in allowance.pipelines.items() if micro}
    return found | {f"provider:{name}": micro for name, micro in allowance.providers.items()}


def _scopes(
    claims: "Mapping[str, Claim]", limits: Mapping[str, int], chosen: "Pipeline | None"
) -> list[str]:
    """The sums to show: all that have a limit or a claim, or those that limit one pipeline."""
    from enrichment.sample.budget import ALL, scopes

    if chosen is not None:
        providers = chosen.sampling.chain
        named = [scopes(chosen.name, provider)[2] for provider in providers]
        own = [name for name in named if name in limits]
        return [ALL, f"pipeline:{chosen.name}", *own]
    found = {scope for claim in claims.values() for scope in claim.scopes}
    return [ALL, *sorted((found | set(limits)) - {ALL})]


def _counter(settings: "Settings", day: int, names: list[str]) -> CounterSeen:
    """What the counter has of these sums."""
    from enrichment.sample.budget import BudgetAwayError
    from enrichment.wiring.money import open_counter

    try:
        found = open_counter(settings).seen(day, names)
    except BudgetAwayError as error:
        return CounterSeen(state="away", detail=str(error))
    if found is None:
        return CounterSeen(state="missing")
    return CounterSeen(state="present", sums=found[:-1], claims=found[-1])


def _rows(
    names: list[str],
    claims: "Mapping[str, Claim]",
    limits: Mapping[str, int],
    seen: CounterSeen,
) -> Iterator[Row]:
    from enrichment.sample.budget import totals

    spent = totals(claim for claim in claims.values() if claim.settled)
    reserved = totals(claim for claim in claims.values() if not claim.settled)
    for number, scope in enumerate(names):
        yield Row(
            scope=scope,
            limit_micro=limits.get(scope),
            spent_micro=spent.get(scope, 0),
            reserved_micro=reserved.get(scope, 0),
            counted_micro=seen.sums[number] if seen.sums else None,
        )


def _print(rows: list[Row]) -> None:
    """The sums as a table, in the providers' currency."""
    from enrichment.sample.budget import shown

    wide = max(len(row.scope) for row in rows)
    heads = ("limit", "spent", "reserved", "left", "counter")
    typer.echo("  ".join((" " * wide, *(f"{head:>14}" for head in heads))))
    for row in rows:
        amounts = (
            row.limit_micro,
            row.spent_micro,
            row.reserved_micro,
            row.left_micro,
            row.counted_micro,
        )
        cells = ("-" if micro is None else shown(micro) for micro in amounts)
        typer.echo("  ".join((f"{row.scope:<{wide}}", *(f"{cell:>14}" for cell in cells))))


def _told(seen: CounterSeen) -> str:
    """What the counter's state means."""
    match seen.state:
        case "present":
            return f"the counter is present, of {seen.claims} attempts"
        case "missing":
            return (
                "the counter is missing: nothing paid is begun until a worker that asks has built "
                "it from the ledger"
            )
        case _:
            return f"nothing paid is begun: {seen.detail}"
