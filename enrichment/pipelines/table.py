"""What all tables of a pipeline's files have in common."""

from typing import Annotated

import msgspec
from msgspec import Meta

Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]*$", max_length=40)]
Field = Annotated[str, Meta(min_length=1, max_length=100)]


class PipelineError(ValueError):
    """A pipeline that cannot be used, said in one line that tells what to change."""


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of a pipeline file. An unknown key is an error, not a shrug."""


class Provenance(Table, frozen=True):
    """`[provenance]`: how the weights came to be, so that nobody has to guess."""

    # "by hand", or what `enrichment fit` did.
    method: Field
    # RFC 3339, UTC; "" where nobody noted it.
    fitted_at: str = ""
    fitted_on: tuple[str, ...] = ()
    judged_on: tuple[str, ...] = ()
    # Of simulated recordings: no table may be judged on a seed that it was fitted on.
    seeds: tuple[int, ...] = ()
    judged_seeds: tuple[int, ...] = ()
    simulated: bool = False
    events: Annotated[int, Meta(ge=0)] = 0
    positives: Annotated[int, Meta(ge=0)] = 0
    # The inverse strength of the regularisation, as scikit-learn has it.
    c: Annotated[float, Meta(ge=0)] = 0.0
    # Figures on data that the weights were not fitted on.
    metrics: dict[str, float] = {}
    note: str = ""
