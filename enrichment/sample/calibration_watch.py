"""The hand that says when a device was calibrated anew: a thread beside the worker's loop.

It asks providers what they are, which waits for nothing, and reads and writes the control topic,
which does, only where a calibration is not the one that it has last found standing there. Trouble
with Kafka is said and met by the next round; until then features of before the change stay in use.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from confluent_kafka import KafkaException

from enrichment.provider.contract import Description
from enrichment.records import Control
from enrichment.rollout.control import control_key
from enrichment.sample.calibrations import Seen, change, control_name, current_of, seen
from enrichment.stream.background import Background
from enrichment.telemetry.log import logger

CHECK_S: Final = 5.0
"""A device is asked once a minute at most, whoever asks: this is for how soon we hear of it."""

STOP_S: Final = 1.0
"""How long the end waits for it: what it does is done by the next start, or another worker."""

Read = Callable[[], Mapping[str, Control]]
"""What stands on the control topic, by key. Raises KafkaException or TimeoutError."""

Write = Callable[[Control, Control | None], bool]
"""Puts a record there in the place of another; False where that does not stand any more. Raises
KafkaException.
"""


class CalibrationWatch(Background):
    """A thread: `with CalibrationWatch(...)`. `check` is one round of it."""

    def __init__(
        self,
        pipeline: str,
        devices: Sequence[Callable[[], Description]],
        read: Read,
        write: Write,
        *,
        now_ms: Callable[[], int],
    ) -> None:
        """Ask each of `devices` what it is; nothing is asked yet."""
        super().__init__("calibrations", stop_s=STOP_S)
        self._pipeline = pipeline
        self._devices = devices
        self._read = read
        self._write = write
        self._now_ms = now_ms
        self._seen: dict[int, Seen | None] = {}
        # By backend: the calibration last found standing, or written.
        self._stands: dict[str, str] = {}

    def check(self) -> None:
        """Ask once, and write what follows. Raises as `Read` and `Write` do."""
        now_ms = self._now_ms()
        for number, describe in enumerate(self._devices):
            known = self._seen[number] = seen(self._seen.get(number), describe(), now_ms)
            if known is None or self._stands.get(known.backend) == known.calibration_id:
                continue
            key = control_key(self._pipeline, control_name(known.backend))
            standing = self._read().get(key)
            record = change(self._pipeline, known, standing, now_ms)
            if record is not None:
                if not self._write(record, standing):
                    continue  # another worker was faster, and may know better: the next round
                logger().warning(
                    "a device was calibrated: features of before are withdrawn",
                    backend=known.backend,
                    reason=record.reason,
                )
            elif current_of(standing) != known.calibration_id:
                continue  # another's word, which is newer, or will be ours in a while
            self._stands[known.backend] = known.calibration_id

    def _run(self) -> None:
        """Check until told to stop; trouble is for the next round."""
        while not self._stop.wait(CHECK_S):
            try:
                self.check()
            except (KafkaException, TimeoutError) as error:
                logger().warning("calibrations: Kafka does not answer", error=str(error))
