"""Columns of the tables that commands print."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.table import Column

WIDTH_MIN: Final = 12  # an id on three lines; a word of a reason


def whole(name: str, width_min: int = WIDTH_MIN) -> "Column":
    """A column whose text goes on in the next line where it has no room: an id is for copying.

    Without a width of its own the columns beside it would leave it none.
    """
    from rich.table import Column

    return Column(name, overflow="fold", min_width=width_min)
