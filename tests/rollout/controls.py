"""Control records for tests, as key and value."""

from typing import Any, Final

import msgspec

from enrichment.records import Control, Withdrawal
from enrichment.rollout.control import control_key

ISSUED_MS: Final = 1_780_000_000_000


def control(name: str, *, pipeline: str = "payments", **fields: Any) -> Control:
    """A control record; a withdrawal's own fields make one."""
    own = {key: fields.pop(key) for key in Withdrawal.__struct_fields__ if key in fields}
    return Control(
        pipeline=pipeline,
        name=name,
        issued_at_ms=fields.pop("issued_at_ms", ISSUED_MS),
        issued_by="a test",
        reason="to see what happens",
        withdrawal=Withdrawal(**own) if own else None,
        **fields,
    )


def record(one: Control) -> tuple[bytes, bytes]:
    """Its key and its value on the topic."""
    return control_key(one.pipeline, one.name).encode(), msgspec.json.encode(one)


def tombstone(one: Control) -> tuple[bytes, None]:
    """What lifts it."""
    return record(one)[0], None
