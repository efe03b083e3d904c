"""`enrichment console`: the web page and HTTP API of one pipeline."""

import typer

from enrichment.cli.app import PipelineOption, fail, pipeline_or_fail, settings_of


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("console")(console)


def console(context: typer.Context, pipeline: PipelineOption = "payments") -> None:
    """Serve the console: flow, jobs, cases, freshness, rollout and look-ups, as a page and an API.

    Read-only, unless ENRICHMENT_CONSOLE_TOKEN is set: whoever knows the token may then pull the
    kill switch, retry or cancel a job, and confirm or dismiss a case. It listens on
    ENRICHMENT_CONSOLE_HOST and ENRICHMENT_CONSOLE_PORT (127.0.0.1:8180), answers to the names in
    ENRICHMENT_CONSOLE_HOSTS, and describes itself at /openapi.json. Runs until SIGTERM or Ctrl-C.

    Exit codes: 0 told to stop, 1 it ended by itself, 2 settings that do not fit.

    Examples:
      enrichment console --pipeline payments

      ENRICHMENT_CONSOLE_TOKEN="$(openssl rand -hex 16)" enrichment console -p payments

      curl -s http://127.0.0.1:8180/v1/jobs?state=failed
    """
    settings = settings_of(context)
    definition = pipeline_or_fail(pipeline, settings)
    try:
        # The web libraries are an extra of their own.
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401

        from enrichment.wiring.looking import run_console
    except ModuleNotFoundError as missing:
        fail(f"{missing.name} is not installed: pip install 'enrichment[console]'", 2)
    from enrichment.telemetry.log import configure
    from enrichment.wiring.errors import ConfigurationError, StageEndedError
    from enrichment.wiring.stages import check_profile
    from enrichment.wiring.telling import serve_metrics

    configure(stage="console", pipeline=definition.name, text=settings.log_text)
    try:
        check_profile(settings, definition, "console")
        if settings.metrics_port is not None:
            serve_metrics(settings.metrics_port, str(settings.metrics_host))
        run_console(settings, definition, pipeline)
    except ConfigurationError as error:
        fail(str(error), 2)
    except StageEndedError as error:
        fail(str(error))
