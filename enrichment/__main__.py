"""The entry point: reads the settings once, and hands them to the command line."""

import sys


def main() -> None:
    """Run the command line."""
    try:
        from pydantic import ValidationError

        from enrichment.cli.app import build
        from enrichment.settings import Settings
    except ModuleNotFoundError as missing:
        # The bare package reads the feature cache, and brings none of this.
        sys.exit(f"error: {missing.name} is not installed: pip install 'enrichment[all]'")
    try:
        settings = Settings()
    except ValidationError as error:
        for problem in error.errors():
            name = "ENRICHMENT_" + "_".join(str(part) for part in problem["loc"]).upper()
            secret = name.endswith(("_URL", "_KEY", "_PASSWORD", "_TOKEN"))
            found = "" if secret else f", found {problem['input']!r}"
            sys.stderr.write(f"error: {name}: {problem['msg']}{found}\n")
        sys.exit(2)
    build()(obj=settings, prog_name="enrichment")


if __name__ == "__main__":
    main()
