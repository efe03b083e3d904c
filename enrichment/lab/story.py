"""The story: a path is let in on evidence, another asks, noise takes it out, a switch ends it all.

Everything is real but the payments, which are simulated, and the device, which is virtual: servers,
stages, commands, jobs, refusals. No scene knows how another ended: what the gate says, it says.
"""

import secrets
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from enrichment.lab.local_run import Folders, environment, local_servers
from enrichment.lab.narration import Narration, open_transcript
from enrichment.lab.story_events import newest
from enrichment.lab.story_pipeline import NAME, story_pipeline
from enrichment.lab.story_stages import StoryStages, say
from enrichment.records import Enriched, JobState, Stage
from enrichment.records import Path as ServingPath

NOISE_SCALE: Final = 10.0
GATE_S: Final = 420.0  # the last look comes well before: then its answer is the answer
ASK_EVERY_S: Final = 10.0
EVENT_S: Final = 90.0
DEMOTED_S: Final = 240.0  # a dozen jobs on a device whose every shot is a run of its own
SETTLED_S: Final = 30.0  # what waits at the simulator is through by then
OFTEN_MS: Final = 1_000  # reading the topic's end takes half of it
REST_MS: Final = 2_000  # the promise
SERVES_S: Final = 120.0
CHECKS_S: Final = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoryOptions:
    """What the story is asked to do."""

    seed: int | None
    state_dir: Path
    topics_dir: Path
    # Transcript and plots go there.
    to: Path
    rate_per_s: float = 400.0
    quiet_rate_per_s: float = 25.0


@dataclass(slots=True)
class Told:
    """What the scenes leave for the end: an event of each phase, and figures."""

    events: dict[str, Enriched] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)


class Story:
    """One telling. Everything started here is ended here."""

    def __init__(self, options: StoryOptions) -> None:
        self._options = options
        work = options.state_dir / f"story-{time.time_ns()}"
        self._folders = Folders(
            state_dir=options.state_dir, topics_dir=options.topics_dir, work=work
        )
        self._seed = secrets.randbelow(2**31) if options.seed is None else options.seed
        self._told = Told()

    def run(self, stop: threading.Event) -> dict[str, Any]:
        """Tell it; the figures. Raises LocalRunError, ServerError."""
        begun_s = time.monotonic()
        with ExitStack() as stack:
            transcript = stack.enter_context(open_transcript(self._options.to))
            servers = stack.enter_context(local_servers(self._folders, say))
            self._client = {"bootstrap.servers": servers.bootstrap, "log_level": 2}
            pipelines = self._folders.work / "pipelines"
            story_pipeline(pipelines)
            told_to = environment(servers) | {
                "ENRICHMENT_PIPELINES_DIR": str(pipelines),
                "ENRICHMENT_TOPICS_DIR": str(self._options.topics_dir),
            }
            self._stages = stages = StoryStages(told_to, self._options.to / "logs", stop)
            self._narrate = Narration(told_to, transcript, stages.tend)
            self._narrate.say(
                f"Simulated payments, seed {self._seed}; margin, looks and thresholds are in the "
                "pipeline's file\nsince before the first event. The device is a virtual one."
            )
            stack.enter_context(stages)
            self._begin()
            with stages.stream(self._options.rate_per_s, rings=90, seed=self._seed):
                self._classical()
                self._quantum()
                self._checks()
            with stages.stream(self._options.quiet_rate_per_s, rings=20, seed=self._seed + 1):
                self._noise()
            with stages.stream(self._options.rate_per_s, rings=90, seed=self._seed + 2):
                self._kill()
            self._look_back()
        self._told.figures["seconds"] = round(time.monotonic() - begun_s, 1)
        self._told.figures["seed"] = self._seed
        return self._told.figures

    # Scenes

    def _begin(self) -> None:
        narrate = self._narrate
        narrate.scene(
            "Before the first event",
            "Is everything in place, and what is in force? Nothing but the heuristic serves.",
        )
        self._stages.await_joined()
        narrate.run("preflight", "-p", NAME, codes=(0, 1))
        narrate.run(
            "experiment", "start", "-p", NAME, "--reason", "do ring features help, and whose?"
        )
        narrate.run(
            "rollout", "provider", "-p", NAME, "--check", "virtual", "--every", "12",
            "--reason", "what would a device make of it?",
        )  # fmt: skip
        narrate.run("rollout", "show", "-p", NAME)

    def _classical(self) -> None:
        narrate = self._narrate
        narrate.scene(
            "Rings begin among decoys",
            "The classical ring path runs in shadow. It asks at once, with no outcomes known.",
        )
        narrate.rest(15)
        narrate.run(
            "rollout", "promote", "classical", "-p", NAME, "--reason", "too early", codes=(3,)
        )
        self._keep(
            "shadow", lambda event: _has(event, "classical") and event.path is ServingPath.HEURISTIC
        )
        narrate.scene("Classical: shadow to canary", "It asks again whenever a look is complete.")
        self._promoted("classical", "it finds rings that the heuristic does not")
        self._keep("canary", lambda event: _served(event, ServingPath.CLASSICAL, Stage.CANARY))
        narrate.scene("Classical: canary to live", "The canary's share must have seen bad events.")
        self._promoted("classical", "the canary sings")
        self._keep("live", lambda event: _served(event, ServingPath.CLASSICAL, Stage.LIVE))

    def _quantum(self) -> None:
        narrate = self._narrate
        narrate.scene(
            "Quantum asks",
            "It has run in shadow beside the classical path, on the same events. The gate wants it "
            "superior\nto no ring features and not inferior to its classical twin by more than "
            "the margin.",
        )
        answer = narrate.run(
            "rollout", "promote", "quantum", "-p", NAME, "--reason", "as good as its twin?",
            codes=(0, 3),
        )  # fmt: skip
        self._told.figures["quantum_promoted"] = answer.code == 0
        if answer.code:
            narrate.say("\nThe gate says no. The next scenes need it served, and say so on record.")
            narrate.run(
                "rollout", "promote", "quantum", "-p", NAME, "--override", "--share", "0.2",
                "--reason", "to show what noise does to a path that serves",
            )  # fmt: skip
        self._keep("quantum", lambda event: _served(event, ServingPath.QUANTUM, Stage.CANARY))

    def _checks(self) -> None:
        narrate = self._narrate
        narrate.scene(
            "Spot checks",
            "One job in twelve is also computed by the virtual device, held against the "
            "simulator, and never used.",
        )
        narrate.until("a spot check has ended", self._checked, CHECKS_S, 5)
        narrate.run("evidence", "show", "-p", NAME)
        narrate.run(
            "evidence", "export", "-p", NAME, "--to", str(self._options.to / "evidence.json"),
            "--plot", str(self._options.to / "evidence.svg"),
        )  # fmt: skip

    def _noise(self) -> None:
        narrate = self._narrate
        narrate.scene(
            "A device computes, then its noise is raised",
            "The virtual device takes the simulator's place, first as it was calibrated. Each shot "
            "of it is a\nrun of its own: the stream is thinner now, and what waits is done first.",
        )
        narrate.rest(SETTLED_S)
        narrate.run(
            "rollout", "provider", "virtual", "-p", NAME, "--no-check",
            "--reason", "a device for the simulator",
        )  # fmt: skip
        narrate.until("an event served by what the device computed", self._by_device, EVENT_S, 5)
        narrate.run("jobs", "list", "-p", NAME, "--limit", "6")
        narrate.say(f"\nThe sampler is started again with {NOISE_SCALE:.0f} times the noise.")
        self._stages.restart_sampler(ENRICHMENT_VIRTUAL_NOISE_SCALE=str(NOISE_SCALE))
        took_s = narrate.until("the guard takes it out", self._demoted, DEMOTED_S, 2)
        self._told.figures["demoted_after_s"] = round(took_s, 1)
        narrate.say(f"Demoted by itself {took_s:.0f} s after the noise was raised:")
        narrate.run("changes", "list", "-p", NAME, "--kind", "rollout", "--limit", "3")
        self._keep("demoted", lambda event: event.path is not ServingPath.QUANTUM)
        narrate.run("rollout", "provider", "qsim", "-p", NAME, "--reason", "back to the simulator")
        self._stages.restart_sampler()

    def _kill(self) -> None:
        narrate = self._narrate
        narrate.scene("The kill switch", "Under load, while the classical path serves live.")
        narrate.until("the classical path serves all the time", self._flows, SERVES_S, 2)
        pulled_ms = _now_ms()
        narrate.run("rollout", "kill", "-p", NAME, "--reason", "incident 42")
        narrate.rest(5)
        last = self._newest(lambda event: event.path is not ServingPath.HEURISTIC)
        decided_ms = pulled_ms if last is None else last.decided_at_ms
        after_s = max(0.0, (decided_ms - pulled_ms) / 1000)
        self._told.figures["kill_in_force_after_s"] = round(after_s, 3)
        narrate.say(
            f"\nThe last event that another path served was decided {after_s:.2f} s after the "
            "command was given\n(starting the command's interpreter is in it)."
        )
        self._keep("killed", lambda event: event.decided_at_ms > decided_ms + REST_MS)
        narrate.run("rollout", "show", "-p", NAME)
        narrate.run("rollout", "restore", "-p", NAME, "--reason", "incident 42 is over")

    def _look_back(self) -> None:
        narrate = self._narrate
        narrate.scene("Looking back", "Every change is on record; every event can be explained.")
        narrate.run("changes", "list", "-p", NAME)
        for phase, event in self._told.events.items():
            narrate.say(f"\n-- an event of the phase '{phase}' --")
            narrate.run("lineage", event.event_id, "-p", NAME)
            job = next((used.job_id for used in event.features if used.job_id), "")
            if job:
                narrate.run("reproduce", job, "-p", NAME)
            else:
                narrate.say("\nNo job stands behind it: nothing of it was sampled.")

    # What scenes are made of

    def _promoted(self, path: str, reason: str) -> None:
        """Ask the gate until it lets the path in: of each refusal its last line, then the whole."""
        ask = ("rollout", "promote", path, "-p", NAME, "--reason", reason)

        def let_in() -> bool:
            answer = self._narrate.run(*ask, codes=(0, 3), quiet=True)
            said = answer.text.rstrip()
            self._narrate.command(*ask)
            self._narrate.say(said if answer.code == 0 else said.splitlines()[-1])
            return answer.code == 0

        self._narrate.until(f"the gate lets {path} in", let_in, GATE_S, ASK_EVERY_S)

    def _keep(self, phase: str, holds: Callable[[Enriched], bool]) -> None:
        """Wait for an event of this phase, and remember it."""
        said = f"an event of the phase '{phase}'"
        self._narrate.until(said, lambda: self._found(phase, holds), EVENT_S, 2)

    def _found(self, phase: str, holds: Callable[[Enriched], bool]) -> bool:
        """Whether there is such an event now: one with ring features, where there is one."""
        event = newest(self._client, NAME, holds, better=_with_job)
        if event is not None:
            self._told.events[phase] = event
        return event is not None

    def _newest(self, holds: Callable[[Enriched], bool]) -> Enriched | None:
        return newest(self._client, NAME, holds)

    def _checked(self) -> bool:
        jobs = self._narrate.ask("jobs", "list", "-p", NAME, "--checks")["jobs"]
        return any(job["state"] == JobState.SUCCEEDED.value for job in jobs)

    def _flows(self) -> bool:
        """Whether the classical path serves now, and not just once in a while."""
        event = self._newest(lambda each: each.path is ServingPath.CLASSICAL)
        return event is not None and event.decided_at_ms > _now_ms() - OFTEN_MS

    def _by_device(self) -> bool:
        """Whether an event was served by what the device has computed."""
        listed = self._narrate.ask(
            "jobs", "list", "-p", NAME, "--provider", "virtual", "--limit", "2000"
        )
        jobs = {job["job_id"] for job in listed["jobs"]}
        return self._found(
            "device",
            lambda event: (
                _served(event, ServingPath.QUANTUM, Stage.CANARY)
                and any(used.job_id in jobs for used in event.features)
            ),
        )

    def _demoted(self) -> bool:
        shown = self._narrate.ask("rollout", "show", "-p", NAME)
        stages = {path["path"]: path["stage"] for path in shown["paths"]}
        return bool(stages["quantum"] == Stage.SHADOW.value)


def _has(event: Enriched, path: str) -> bool:
    return getattr(event.scores, path) is not None


def _with_job(event: Enriched) -> bool:
    return any(used.job_id for used in event.features)


def _served(event: Enriched, path: ServingPath, stage: Stage) -> bool:
    return event.path is path and event.rollout is not None and event.rollout.stage is stage


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
