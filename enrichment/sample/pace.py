"""How fast something goes, and how wide its intervals are, as seen lately. Pure."""

from typing import Final

NEWEST: Final = 0.2
"""The newest figure's share of the mean: five jobs, and one odd one does not decide."""


class Lately:
    """A mean in which what is newer counts more; None until there is a first figure."""

    def __init__(self) -> None:
        self.mean: float | None = None

    def see(self, figure: float) -> None:
        """Take in a figure."""
        self.mean = figure if self.mean is None else self.mean + NEWEST * (figure - self.mean)
