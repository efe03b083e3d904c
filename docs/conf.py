"""How the pages become a site: `make docs`. Sphinx reads them as they are, Markdown by MyST."""
# ruff: noqa: INP001  # Sphinx looks for a file of this name in the pages' own folder

import tomllib
from pathlib import Path

_about = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]

project = "enrichment"
author = project_copyright = "the enrichment authors"
release = version = _about["version"]

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
# A link is to a heading as GitHub names it: pages are read there as well.
myst_heading_anchors = 4
# A page without its place in the contents, a link that leads nowhere: each ends the build.
nitpicky = True

html_theme = "furo"
html_title = f"enrichment {release}"
# Nothing is fetched from anywhere when a page is read.
html_copy_source = False
html_show_sourcelink = False
