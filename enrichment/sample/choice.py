"""Which provider new jobs are begun with, and which micro-batches are checked by another.

The pipeline's file says it, and `enrichment.control` says it anew while the stage runs. What is
said there may be wrong for this process (a vendor that it has no key for): that is told once, and
the file's word stays. A job that has begun keeps what it was begun with.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Final

from enrichment.pipelines import Pipeline
from enrichment.records.control import Compute
from enrichment.rollout.control import ControlState
from enrichment.sample.chain import Chain
from enrichment.telemetry.log import logger

CHECK_MS: Final = 120_000
"""How long a spot check may take: nobody waits for it, so it may wait for a slow or busy device
until those that somebody waits for have been; longer and it would be of another calibration."""

CHECKS_OPEN_MAX: Final = 8
"""Spot checks of a worker that are not over: where they come faster than they are done, those
beyond are not begun. With their payloads they are a megabyte, and two minutes of work."""


class Choice:
    """What is in force of one pipeline's providers, for one worker."""

    def __init__(
        self, pipeline: Pipeline, chain: Chain, control: Callable[[], ControlState]
    ) -> None:
        """`control` says what is in force now; `chain` opens providers."""
        self.pipeline = pipeline
        self._chain = chain
        self._control = control
        self._heard: Compute | None = None
        # By name: why it cannot be asked, as found since the last change.
        self._objections: dict[str, str] = {}

    @property
    def state(self) -> ControlState:
        """What is in force now."""
        return self._control()

    @property
    def experiment_id(self) -> str:
        """The experiment that new jobs belong to, or ""."""
        experiment = self.state.experiment
        return "" if experiment is None else experiment.experiment_id

    def provider(self) -> str:
        """The provider that new jobs are begun with."""
        chosen, compute = self.pipeline.sampling.provider, self.state.compute
        if compute is None or compute.provider in ("", chosen):
            return chosen
        return compute.provider if self._usable(compute, compute.provider) else chosen

    def checked_by(self, micro_batch_id: str) -> str:
        """The provider that checks that micro-batch's job, or ""."""
        compute = self.state.compute
        if compute is None or not compute.check_provider:
            return ""
        if not is_checked(micro_batch_id, compute.check_every):
            return ""
        return compute.check_provider if self._usable(compute, compute.check_provider) else ""

    def deadline_ms(self, *, check: bool) -> int:
        """How long a new job, or a new check, may take."""
        deadline_ms = self.pipeline.sampling.deadline_ms
        return max(deadline_ms, CHECK_MS) if check else deadline_ms

    def objection(self, name: str) -> str:
        """Why the provider cannot be asked by this process for this pipeline, or ""."""
        why = self._chain.objection(name)
        if why:
            return why
        price = self._chain.described(name).price_per_shot
        if price and not self.pipeline.budget.day:
            return (
                f"{name} costs {price} a shot and the pipeline may spend nothing: say in its file, "
                "under [budget], what it may spend in a `day`"
            )
        return ""

    def _usable(self, compute: Compute, name: str) -> bool:
        """Whether the provider can be asked; where not it is said, once for each instruction."""
        if compute != self._heard:
            self._heard, self._objections = compute, {}
        if name not in self._objections:
            why = self._objections[name] = self.objection(name)
            if why:
                logger().warning(
                    "enrichment.control names a provider that cannot be asked here; what the "
                    "pipeline's file says stays",
                    pipeline=self.pipeline.name,
                    provider=name,
                    objection=why,
                )
        return not self._objections[name]


def is_checked(micro_batch_id: str, every: int) -> bool:
    """Whether it is one of the one in `every` that are checked: the same whenever it is asked."""
    digest = sha256(f"check\n{micro_batch_id}".encode()).digest()
    return every > 0 and int.from_bytes(digest[:8], "big") % every == 0
