"""A noisy device without hardware: cirq-google's virtual one, its noise run on qsim.

Its work is that of a device (lines by calibration, compilation to native gates, calibration shots)
and its time that of a simulator: every shot is a run of its own, so problems are not packed. The
local engine around it is left aside: there, a cancelled job runs on and ends as a success, a second
job takes the id of the first, and programs pile up. Here ids, deadlines and failures are `Local`'s.

This module stays light: what imports cirq-google (five seconds) is loaded by the first draw, in a
worker process.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from enrichment.circuit.angles import ising_scaled_angles
from enrichment.circuit.template import ising_circuit_hash
from enrichment.provider.answer import Drawn, Problem, generator
from enrichment.provider.local import Local
from enrichment.provider.pool import Pool

if TYPE_CHECKING:
    from enrichment.provider.virtual_device import VirtualDevice

VARIABLES_MAX: Final = 12
"""A thousand noisy shots of 12 variables in two layers take a core 20 s, of 8 variables 3 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """A processor with data in cirq-google: its native gates, and when it was calibrated.

    The older two have no calibration of CZ: compiled to it, circuits would run without its noise.
    """

    name: str
    gates: tuple[str, str]
    calibration_time_ms: int

    def calibration_id(self, noise_scale: float = 1.0) -> str:
        """The id of the one calibration there is; the same device with other noise is another."""
        scaled = "" if noise_scale == 1.0 else f"x{noise_scale:g}"
        return f"{self.name}@{self.calibration_time_ms}{scaled}"


PROCESSORS: Final[Mapping[str, Processor]] = {
    processor.name: processor
    for processor in (
        Processor(
            name="rainbow", gates=("sqrt_iswap", "phased_xz"), calibration_time_ms=1637058415838
        ),
        Processor(
            name="weber", gates=("sqrt_iswap", "phased_xz"), calibration_time_ms=1635923188204
        ),
        Processor(name="willow_pink", gates=("cz", "phased_xz"), calibration_time_ms=1723795877630),
    )
}

PROCESSOR: Final = "willow_pink"
"""The latest one, with 105 qubits."""


def draw(problem: Problem, *, noise_scale: float = 1.0) -> Drawn:
    """Return noisy samples of the problem's circuit on the line that calibration favours.

    `noise_scale` is how many times the device's own noise it has, as in `VirtualDevice`.
    """
    gammas, betas = ising_scaled_angles(problem.model, problem.layers)
    bits, run = device(noise_scale=noise_scale).run(
        problem.model, (gammas, betas), problem.shots, generator(problem, "virtual")
    )
    return Drawn(
        bits=bits,
        circuit_hash=ising_circuit_hash(problem.model, gammas, betas),
        gammas=gammas,
        betas=betas,
        device_run=run,
    )


@cache
def device(name: str = PROCESSOR, *, noise_scale: float = 1.0) -> "VirtualDevice":
    """Return a processor's device with so many times its noise, built once a process."""
    from enrichment.provider.virtual_device import VirtualDevice

    return VirtualDevice(PROCESSORS[name], noise_scale)


class Virtual(Local):
    """The provider: a local one whose children are told how much noise there is to be."""

    def __init__(self, pool: Pool, now_ms: Callable[[], int], noise_scale: float) -> None:
        processor = PROCESSORS[PROCESSOR]
        # Whoever changes the noise makes another device of it now: what was computed before, under
        # less of it, is then withdrawn at once (`enrichment.sample.calibrations`).
        made_ms = processor.calibration_time_ms if noise_scale == 1.0 else now_ms()
        super().__init__(
            "virtual",
            pool,
            now_ms,
            variables_max=VARIABLES_MAX,
            gate_set=processor.gates,
            calibration=(processor.calibration_id(noise_scale), made_ms),
        )
        self._options = {"noise_scale": noise_scale}


def open_provider(pool: Pool, now_ms: Callable[[], int], noise_scale: float = 1.0) -> Virtual:
    """Return the provider, its circuits run in `pool`, with so many times the device's noise."""
    return Virtual(pool, now_ms, noise_scale)
