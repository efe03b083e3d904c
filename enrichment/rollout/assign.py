"""Which paths may serve an event: of its account, by the rollout; and which events are untreated.

A path without a rollout record of its own is live where the pipeline's file serves it or a higher
one, and in shadow otherwise. A record replaces that: in shadow for nobody, live for everybody, as a
canary for a share of the accounts. The cap (`ControlState.serve`) comes last, over overrides too.

Shares are of a hash and not of a draw: the same account is in the canary in every process and
after every restart, a larger share holds all accounts of a smaller one, and one path's share says
nothing about another's. BLAKE2 and not CRC-32, by which the positions of ids of equal length would
differ between two paths by one constant. Pure.
"""

from hashlib import blake2b
from typing import Final

import msgspec

from enrichment.pipelines import Pipeline
from enrichment.records import Assigned, Path, Rollout, Stage
from enrichment.rollout.control import ControlState

RING_PATHS: Final = (Path.QUANTUM, Path.CLASSICAL)
"""The paths that are let in or not, the one that serves first where both are: then the other, then
the heuristic, which is what is left."""
RANKS: Final = {Path.HEURISTIC: 0, Path.CLASSICAL: 1, Path.QUANTUM: 2}
POSITION_BYTES: Final = 8  # of a hash for each path: shares are kept to one in 2^64
FULL: Final = 1 << 8 * POSITION_BYTES


def rollouts_of(pipeline: Pipeline, state: ControlState) -> tuple[Rollout, ...]:
    """How far each ring path is let in, by a record or by the pipeline's file; any cap apart."""
    return tuple(
        state.rollouts.get(path.value)
        or Rollout(path=path, stage=Stage.LIVE if _in_file(pipeline, path) else Stage.SHADOW)
        for path in RING_PATHS
    )


def _in_file(pipeline: Pipeline, path: Path) -> bool:
    return RANKS[path] <= RANKS[Path(pipeline.score.serve)]


def capped(state: ControlState, path: Path) -> bool:
    """Whether a cap keeps the path from serving, whatever its rollout says."""
    return bool(state.serve) and RANKS[path] > RANKS[Path(state.serve)]


def case_path(pipeline: Pipeline, state: ControlState) -> Path:
    """The ring path whose memberships make cases: the first that is live, else the classical one.

    A canary makes none: a case is of many accounts, most of which it does not serve.
    """
    for rollout in rollouts_of(pipeline, state):
        if rollout.stage is Stage.LIVE and not capped(state, rollout.path):
            return rollout.path
    return Path.CLASSICAL


def positions(pipeline: str, account: str) -> tuple[int, ...]:
    """Where an account stands for each of RING_PATHS, from 0 to below 2^64, independently."""
    digest = blake2b(
        f"canary|{pipeline}|{account}".encode(), digest_size=POSITION_BYTES * len(RING_PATHS)
    ).digest()
    return tuple(
        int.from_bytes(digest[start : start + POSITION_BYTES])
        for start in range(0, len(digest), POSITION_BYTES)
    )


class Policy:
    """What is in force for one pipeline, made ready to be asked for every event."""

    def __init__(self, pipeline: Pipeline, state: ControlState) -> None:
        self._name = pipeline.name
        self._state = state
        self._always: set[Path] = set()
        # Path's index -> positions below this are let in.
        self._canaries: dict[int, int] = {}
        self._rollouts = rollouts_of(pipeline, state)
        for index, rollout in enumerate(self._rollouts):
            if capped(state, rollout.path):
                continue
            if rollout.stage is Stage.LIVE:
                self._always.add(rollout.path)
            elif rollout.stage is Stage.CANARY:
                self._canaries[index] = int(rollout.share * FULL)
        # Whether anything but the pipeline's file says who serves, or under which experiment.
        self.in_force = bool(state.serve or state.rollouts or state.experiment)
        # What every account is assigned, where no path is a canary.
        self.everybody: Assigned | None = None
        self._by_paths: dict[tuple[Path, ...], Assigned] = {}
        if not self._canaries:
            self.everybody = self._assigned(tuple(p for p in RING_PATHS if p in self._always))
        definition = pipeline.rollout
        self._untreated_below = int(definition.untreated_share * FULL)
        self._untreated_minor = round(
            definition.untreated_amount_max * pipeline.stream.amount_scale
        )

    def assigned(self, account: str) -> Assigned:
        """The paths that may serve this account's events, and how far the first of them is let in.

        Of equal answers there is one object.
        """
        if self.everybody is not None:
            return self.everybody
        where = positions(self._name, account)
        paths = tuple(
            path
            for index, path in enumerate(RING_PATHS)
            if path in self._always
            or (index in self._canaries and where[index] < self._canaries[index])
        )
        return self._by_paths.get(paths) or self._assigned(paths)

    @property
    def leaves_untreated(self) -> bool:
        """Whether there is any event that is untreated."""
        return self._untreated_below > 0

    def untreated(self, event_id: str, amount_minor: int) -> bool:
        """Whether the event is never declined on a ring path's word.

        By its own id, so that no account is exempt for good; a larger amount, in either direction,
        is always treated.
        """
        if abs(amount_minor) > self._untreated_minor:
            return False
        digest = blake2b(f"untreated|{self._name}|{event_id}".encode(), digest_size=POSITION_BYTES)
        return int.from_bytes(digest.digest()) < self._untreated_below

    def _assigned(self, paths: tuple[Path, ...]) -> Assigned:
        admitted = [rollout for rollout in self._rollouts if rollout.path in paths]
        experiment = self._state.experiment
        made = Assigned(
            paths=paths,
            stage=admitted[0].stage if admitted else Stage.SHADOW,
            revision=self._state.revision,
            experiment_id=experiment.experiment_id if experiment is not None else "",
            override=any(rollout.override for rollout in admitted),
        )
        self._by_paths[paths] = made
        return made


def untreated_of(assigned: Assigned) -> Assigned:
    """The same of an event that is untreated."""
    return msgspec.structs.replace(assigned, untreated=True)
