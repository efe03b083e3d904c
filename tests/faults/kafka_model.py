"""A correct Kafka in miniature, and what its writers and readers would note: for the checker."""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from hypothesis import strategies as st

from tests.faults.journal import Acked, Assigned, Ended, Op, Polled, Reached, Sent

PARTITIONS: Final = 2
WRITERS: Final = 2
READERS: Final = 3  # the last one reads uncommitted
TOPIC: Final = "t"


class Step(NamedTuple):
    """What happens next, by a writer or reader of this number, at a partition."""

    what: str
    who: int
    partition: int


WHAT: Final = (
    "write", "write unheard", "begin", "commit", "abort", "commit unheard", "abort unheard",
    "assign", "poll", "poll", "reach",
)  # fmt: skip


def steps() -> st.SearchStrategy[list[Step]]:
    """Scripts of some dozens of steps."""
    step = st.builds(
        Step,
        st.sampled_from(WHAT),
        st.integers(0, READERS - 1),
        st.integers(0, PARTITIONS - 1),
    )
    return st.lists(step, min_size=20, max_size=80)


@dataclass(slots=True)
class _Slot:
    """One offset: a record of a transaction or of none, or a marker, which has no value."""

    value: str = ""
    transaction: str = ""


@dataclass(slots=True)
class _Log:
    history: list[Op] = field(default_factory=list)
    slots: list[list[_Slot]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])
    # Writer -> its open transaction.
    open_: dict[int, str] = field(default_factory=dict)
    # Transaction -> whether it was committed; absent while it is open.
    ends: dict[str, bool] = field(default_factory=dict)
    # Reader and partition -> its next offset.
    positions: dict[tuple[int, int], int] = field(default_factory=dict)
    count: int = 0

    def stable(self, partition: int, *, committed: bool) -> int:
        """How far a reader may go: a committed one up to the first open transaction."""
        slots = self.slots[partition]
        if committed:
            for offset, slot in enumerate(slots):
                if slot.transaction and slot.transaction not in self.ends:
                    return offset
        return len(slots)

    def write(self, writer: int, partition: int, *, heard: bool) -> None:
        self.count += 1
        send = value = f"v{self.count}"
        transaction = self.open_.get(writer, "")
        slots = self.slots[partition]
        self.history.append(
            Sent(
                process=f"w{writer}",
                send=send,
                topic=TOPIC,
                partition=partition,
                value=value,
                transaction=transaction,
            )
        )
        if heard:
            self.history.append(Acked(process=f"w{writer}", send=send, offset=len(slots)))
        slots.append(_Slot(value=value, transaction=transaction))

    def end(self, writer: int, *, committed: bool, heard: bool) -> None:
        transaction = self.open_.pop(writer, "")
        if not transaction:
            return
        self.ends[transaction] = committed
        for slots in self.slots:
            if any(slot.transaction == transaction for slot in slots):
                slots.append(_Slot())
        if heard:
            word = Ended(process=f"w{writer}", transaction=transaction, committed=committed)
            self.history.append(word)

    def assign(self, reader: int, partition: int) -> None:
        # Anywhere: here, where it had been, or at the beginning if it had read nothing.
        start = self.positions.get((reader, partition), 0) // 2
        self.positions[reader, partition] = start
        self.history.append(
            Assigned(
                process=f"r{reader}",
                topic=TOPIC,
                partition=partition,
                start=start,
                read_committed=reader < READERS - 1,
            )
        )

    def poll(self, reader: int, partition: int, *, all_: bool) -> None:
        """Give one visible record, or all of them and the word that this is the end."""
        if (reader, partition) not in self.positions:
            self.assign(reader, partition)
        committed = reader < READERS - 1
        end = self.stable(partition, committed=committed)
        process = f"r{reader}"
        while self.positions[reader, partition] < end:
            offset = self.positions[reader, partition]
            slot = self.slots[partition][offset]
            self.positions[reader, partition] += 1
            visible = not committed or self.ends.get(slot.transaction, True)
            if slot.value and visible:
                self.history.append(
                    Polled(
                        process=process,
                        topic=TOPIC,
                        partition=partition,
                        offset=offset,
                        value=slot.value,
                    )
                )
                if not all_:
                    return
        if all_:
            self.history.append(
                Reached(process=process, topic=TOPIC, partition=partition, position=end)
            )


def history_of(script: list[Step]) -> list[Op]:
    """What all would note; at the end open transactions are aborted unheard, and all is read."""
    log = _Log()
    for number, (what, who, partition) in enumerate(script):
        writer = who % WRITERS
        match what:
            case "write" | "write unheard":
                log.write(writer, partition, heard=what == "write")
            case "begin":
                log.open_.setdefault(writer, f"x{number}")
            case "assign":
                log.assign(who, partition)
            case "poll" | "reach":
                log.poll(who, partition, all_=what == "reach")
            case _:
                log.end(writer, committed="commit" in what, heard="unheard" not in what)
    for writer in range(WRITERS):
        log.end(writer, committed=False, heard=False)
    for reader in range(READERS):
        for partition in range(PARTITIONS):
            log.poll(reader, partition, all_=True)
    return log.history
