"""The way to the nodes of a Redis Cluster: keys of any slots, each asked of who has its slot.

Commands are sent to all nodes before the first reply is read. Nodes that send us elsewhere (MOVED,
ASK, TRYAGAIN while a slot is on its way) are followed within the deadline of the whole call.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import redis
from redis.crc import key_slot

from enrichment.feature.address import Address, shown
from enrichment.feature.wire import Command, Dialer, Reply, Wire

SLOTS: Final = 16_384
# A failover or a moving slot answers TRYAGAIN or CLUSTERDOWN for a while: asked again after this,
# doubled each time, until the deadline.
PAUSE_FIRST_S: Final = 0.001
PAUSE_MAX_S: Final = 0.1
KEYS_MAX: Final = 2_000  # per command: about a millisecond of Redis' only thread
TAGS_MAX: Final = (
    10_000  # slots remembered by tag; a pipeline has 64, keys of strangers may be many
)

Node = tuple[str, int]
Make = Callable[[list[str], list[bytes]], Command]
_AGAIN: Final = ("TRYAGAIN", "CLUSTERDOWN", "LOADING")


class Call:
    """One command about keys of one slot. `make` builds it from these keys and their values.

    `otherwise` does for a node that does not know the script which `make` names.
    """

    __slots__ = ("keys", "make", "otherwise", "places", "slot", "values")

    def __init__(
        self,
        slot: int,
        make: Make,
        keys: list[str],
        places: list[int],
        values: list[bytes],
    ) -> None:
        self.slot = slot
        self.make = make
        self.keys = keys
        self.places = places  # where in the caller's list these keys stand
        self.values = values  # one a key, or none
        self.otherwise: Make | None = None

    def parts(self) -> "list[Call]":
        """The same in commands of a key each: keys of a slot on its way may be on two nodes."""
        parts = [
            Call(self.slot, self.make, [key], [self.places[n]], self.values[n : n + 1])
            for n, key in enumerate(self.keys)
        ]
        for part in parts:
            part.otherwise = self.otherwise
        return parts

    def spelled_out(self) -> "Call | None":
        """The same with its script in full; None where that is what it was."""
        if self.otherwise is None:
            return None
        self.make, self.otherwise = self.otherwise, None
        return self


class Router:
    """Wires to a cluster's primaries, and which of them has which slot.

    For one thread. After an exception it must be closed: replies may be out of step.
    """

    def __init__(self, address: Address, *, track: bool) -> None:
        self._address = address
        self._dialer = Dialer(address, track=track)
        self.wires: dict[Node, Wire] = {}
        self._owners: list[Node | None] = [None] * SLOTS
        self._slots: dict[str, int] = {}
        self.moved = False  # since this was last set to False, slots were seen to have moved

    @property
    def tracking(self) -> bool:
        """Whether every node tells what changes."""
        return bool(self.wires) and all(wire.tracking for wire in self.wires.values())

    def close(self) -> None:
        """Let go of all connections. Idempotent."""
        for wire in self.wires.values():
            wire.close()
        self.wires.clear()

    def connect(self, deadline_s: float) -> None:
        """Find the nodes and connect to each primary, by the first host that answers."""
        said = []
        for number, (host, port) in enumerate(self._address.hosts):
            # A host that hangs leaves the others their share of the time.
            now_s = time.monotonic()
            share_s = (deadline_s - now_s) / (len(self._address.hosts) - number)
            try:
                seed = self._dialer.dial_host(host, port, now_s + share_s)
            except redis.RedisError as error:
                said.append(str(error))
                continue
            try:
                self._learn(seed, host, deadline_s)
            except redis.RedisError as error:
                said.append(str(error))
                self.close()
                continue
            finally:
                if seed not in self.wires.values():
                    seed.close()
            return
        raise redis.ConnectionError("no node of the cluster answers: " + "; ".join(said))

    def refresh(self, deadline_s: float, moved: Mapping[int, Node] | None = None) -> None:
        """Learn anew which node has which slot, from the first node that answers.

        It may not have heard yet of those that `moved`.
        """
        self.moved = True
        for (host, _), wire in list(self.wires.items()):
            [reply] = wire.ask([("CLUSTER", "SLOTS")], deadline_s)
            if not isinstance(reply, redis.RedisError):
                self._adopt(reply, host, deadline_s)
                for slot, node in (moved or {}).items():
                    if node[0]:
                        self._wire(node, deadline_s)
                        self._owners[slot] = node
                return
        raise redis.ConnectionError("no node of the cluster tells who has which slot")

    def _learn(self, seed: Wire, host: str, deadline_s: float) -> None:
        [reply] = seed.ask([("CLUSTER", "SLOTS")], deadline_s)
        if isinstance(reply, redis.RedisError):
            raise redis.ConnectionError(f"{seed.where} is not usable as a cluster: {reply}")
        self._adopt(reply, host, deadline_s, seed)
        if missing := self._owners.count(None):
            raise redis.ConnectionError(f"{missing} slots of the cluster have no node")

    def _adopt(self, ranges: Reply, host: str, deadline_s: float, seed: Wire | None = None) -> None:
        """Take over a reply to CLUSTER SLOTS: connect to who is new, let go of who has none."""
        owners: list[Node | None] = [None] * SLOTS
        for first, last, primary, *_ in ranges:
            # A node that does not know its own name means the one under which it was reached.
            named = primary[0].decode() if primary[0] else ""
            node = (named if named not in {"", "?"} else host, int(primary[1]))
            owners[first : last + 1] = [node] * (last + 1 - first)
        wanted = {owner for owner in owners if owner is not None}
        for node in wanted - self.wires.keys():
            if seed is not None and seed.where == shown(*node):
                self.wires[node] = seed
            else:
                self.wires[node] = self._dialer.dial_host(*node, deadline_s)
        for node in self.wires.keys() - wanted:
            self.wires.pop(node).close()
        self._owners = owners

    def calls(
        self,
        make: Make,
        keys: Iterable[str],
        values: Sequence[bytes] = (),
    ) -> list[Call]:
        """The commands, each of one slot and bounded, that are about all of these keys."""
        slots: dict[int, Call] = {}
        calls: list[Call] = []
        slot_of = self._slot_of
        for place, key in enumerate(keys):
            slot = slot_of(key)
            call = slots.get(slot)
            if call is None or len(call.keys) >= KEYS_MAX:
                call = slots[slot] = Call(slot, make, [], [], [])
                calls.append(call)
            call.keys.append(key)
            call.places.append(place)
            if values:
                call.values.append(values[place])
        return calls

    def _slot_of(self, key: str) -> int:
        # What stands in the first braces decides, where it is not empty.
        start = key.find("{")
        end = key.find("}", start + 2) if start >= 0 else -1
        if end < 0 or key[start + 1] == "}":
            return int(key_slot(key.encode()))
        tag = key[start + 1 : end]
        slot = self._slots.get(tag)
        if slot is None:
            if len(self._slots) >= TAGS_MAX:
                self._slots.clear()
            slot = self._slots[tag] = int(key_slot(tag.encode()))
        return slot

    def execute(
        self, calls: list[Call], deadline_s: float, fence: "Fence | None" = None
    ) -> list[tuple[Call, Reply]]:
        """Each call's reply; a call that met a moving slot comes back in parts.

        Every node, asked or not, passes the fence first. Raises the redis.RedisError of the first
        call that failed, and redis.TimeoutError past the deadline.
        """
        done: list[tuple[Call, Reply]] = []
        pause_s = 0.0
        while calls or fence is not None:
            by_node: dict[Node, list[Call]] = {}
            for call in calls:
                by_node.setdefault(self._owner(call.slot), []).append(call)
            replies = self._exchange(by_node, deadline_s, fence)
            fence = None
            calls = self._followed(replies, done, deadline_s)
            if calls:
                pause_s = min(2 * pause_s or PAUSE_FIRST_S, PAUSE_MAX_S)
                time.sleep(max(0.0, min(pause_s, deadline_s - time.monotonic())))
        return done

    def _exchange(
        self, by_node: dict[Node, list[Call]], deadline_s: float, fence: "Fence | None"
    ) -> list[tuple[Call, Reply]]:
        """Send to all nodes, then read what they say."""
        nodes = list(by_node) if fence is None else list(self.wires)
        asked: list[Command] = [] if fence is None else [fence.COMMAND]
        for node in nodes:
            commands = [call.make(call.keys, call.values) for call in by_node.get(node, ())]
            self.wires[node].send([*asked, *commands], deadline_s)
        replies = []
        for node in nodes:
            wire = self.wires[node]
            if fence is not None:
                fence.passed(wire, wire.receive(deadline_s))
            replies += [(call, wire.receive(deadline_s)) for call in by_node.get(node, ())]
        return replies

    def _owner(self, slot: int) -> Node:
        node = self._owners[slot]
        if node is None:
            raise redis.ConnectionError(f"slot {slot} has no node")
        return node

    def _followed(
        self,
        replies: list[tuple[Call, Reply]],
        done: list[tuple[Call, Reply]],
        deadline_s: float,
    ) -> list[Call]:
        """Put answered calls into `done`; what is to be sent again is returned."""
        again: list[Call] = []
        unknown: list[Call] = []
        asked: list[tuple[Call, Node]] = []
        moved: dict[int, Node] = {}
        for call, reply in replies:
            if not isinstance(reply, redis.RedisError):
                done.append((call, reply))
                continue
            code, *rest = str(reply).split(" ")
            if code == "MOVED":
                again.append(call)
                moved[call.slot] = _node(rest[1])
            elif code == "ASK" and len(call.keys) == 1:
                asked.append((call, _node(rest[1])))
            elif code in {"ASK", *_AGAIN}:
                # Of its keys some may be here and some there: in parts it is right in any case.
                again += call.parts()
            elif code == "NOSCRIPT" and (other := call.spelled_out()):
                unknown.append(other)
            else:
                raise reply
        if again:
            self.refresh(deadline_s, moved)
        for call, node in asked:
            again += self._asked(call, node, done, deadline_s)
        return again + unknown

    def _asked(
        self, call: Call, node: Node, done: list[tuple[Call, Reply]], deadline_s: float
    ) -> list[Call]:
        """Send a call of one key to where its slot is on its way to; what to send again."""
        self.moved = True
        commands = [("ASKING",), call.make(call.keys, call.values)]
        _, reply = self._wire(node, deadline_s).ask(commands, deadline_s)
        if not isinstance(reply, redis.RedisError):
            done.append((call, reply))
            return []
        if str(reply).startswith((*_AGAIN, "MOVED", "ASK")):
            return [call]
        if isinstance(reply, redis.exceptions.NoScriptError) and (other := call.spelled_out()):
            return [other]
        raise reply

    def _wire(self, node: Node, deadline_s: float) -> Wire:
        if node not in self.wires:
            self.wires[node] = self._dialer.dial_host(*node, deadline_s)
        return self.wires[node]


class Fence:
    """What each node says of itself before it answers: only then is what it does not say true.

    A node tells of changed keys in slots that are its own, and in no others. So a key read from it
    earlier is unchanged only if it still has the slots it had, and none of them is on its way.
    """

    COMMAND: Final = ("CLUSTER", "NODES")

    def __init__(self, known: dict[Wire, tuple[str, ...]]) -> None:
        """`known`: what each node said the last time; brought up to date here."""
        self._known = known
        self.moved = False
        self.flushed = False
        self.invalidated: set[bytes] = set()

    def passed(self, wire: Wire, reply: Reply) -> None:
        """Note a node's reply, and the changes that came before it."""
        said = self.said(reply)
        before = self._known.get(wire, said)
        self.moved |= said != before or any(slots.startswith("[") for slots in said)
        self._known[wire] = said
        changed = wire.take_invalidated()
        self.flushed |= changed is None
        self.invalidated |= changed or set()

    @staticmethod
    def said(reply: Reply) -> tuple[str, ...]:
        """The node's role and slots, without what changes all the time. Raises its error."""
        if isinstance(reply, redis.RedisError):
            raise reply
        text = reply if isinstance(reply, str) else reply.decode()
        for line in text.splitlines():
            _, _, flags, primary, _, _, _, _, *slots = line.split(" ")
            if flags.startswith("myself"):
                return (flags, primary, *slots)
        raise redis.InvalidResponse("CLUSTER NODES does not name the node itself")


def _node(text: str) -> Node:
    host, _, port = text.rpartition(":")
    return host, int(port)


def mget(keys: list[str], _values: list[bytes]) -> Command:
    """MGET of some keys of a slot."""
    return ("MGET", *keys)
