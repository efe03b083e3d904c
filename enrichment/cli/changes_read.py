"""Records of change for commands: read, found by id, and made of what a command does."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from enrichment.cli.app import fail

if TYPE_CHECKING:
    from enrichment.records import Change, ChangeKind, Control
    from enrichment.settings import Settings
    from enrichment.stream.changes import Recorded
    from enrichment.stream.framing import Framing

EXIT_MISUSE: Final = 2

T = TypeVar("T")


def read_changes(settings: "Settings") -> "Recorded":
    """All that is on record; ends the command where the topic is missing or nobody answers."""
    from enrichment.stream.changes import recorded
    from enrichment.wiring.clients import kafka_config

    changes_topic_or_fail(settings)
    return asked(settings, lambda: recorded(kafka_config(settings, "changes")))


def changes_topic_or_fail(settings: "Settings") -> None:
    """End the command where no change can be recorded: what it does would be on no record."""
    from enrichment.stream.topics import CHANGES
    from enrichment.wiring.clients import partition_count

    asked(settings, lambda: partition_count(settings, CHANGES))


def standing_controls(settings: "Settings") -> "dict[str, Control]":
    """What stands on the control topic, by key."""
    from enrichment.rollout import instruct
    from enrichment.stream.topics import CONTROL
    from enrichment.wiring.clients import kafka_config, partition_count

    return asked(
        settings,
        lambda: (
            instruct.standing(
                kafka_config(settings, "changes"), partition_count(settings, CONTROL)
            ).controls
        ),
    )


def asked(settings: "Settings", call: Callable[[], T]) -> T:
    """What the call gives; troubles of Kafka and of the configuration end the command."""
    from confluent_kafka import KafkaException

    from enrichment.stream.reviews import UnwrittenError
    from enrichment.wiring.errors import ConfigurationError

    try:
        return call()
    except ConfigurationError as error:
        fail(str(error), EXIT_MISUSE)
    except KafkaException as error:
        where, why = settings.kafka_bootstrap, error.args[0].str()
        fail(f"Kafka at {where} does not answer: {why}; `enrichment up` starts a local one")
    except UnwrittenError as error:
        fail(str(error))
    except TimeoutError as error:
        fail(f"a topic cannot be read to its end: {error}")


def framing_or_fail(settings: "Settings", *written: str) -> "Framing":
    """What stands before these topics' values where there is a schema registry."""
    from enrichment.wiring.clients import framing_of

    return asked(settings, lambda: framing_of(settings, None, *written))


class Recorder:
    """Makes changes of what one command does, by whom and why, within the experiments of now."""

    def __init__(self, settings: "Settings", *, by: str, reason: str) -> None:
        """Asks what experiments are on."""
        self._by, self._reason = by, reason
        self._controls = list(standing_controls(settings).values())

    def change(
        self, kind: "ChangeKind", pipeline: str, subject: str, *, before: str = "", after: str = ""
    ) -> "Change":
        """One change of now."""
        from enrichment.records import Change
        from enrichment.rollout.control import in_force
        from enrichment.stream.changes import new_change_id

        at_ms = time.time_ns() // 1_000_000
        experiment = in_force(pipeline, self._controls).experiment
        return Change(
            change_id=new_change_id(at_ms),
            pipeline=pipeline,
            kind=kind,
            subject=subject,
            changed_at_ms=at_ms,
            changed_by=self._by,
            reason=self._reason,
            before=before,
            after=after,
            experiment_id="" if experiment is None else experiment.experiment_id,
        )
