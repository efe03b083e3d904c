"""Malformed records, as a stream in life carries them: each must end as one dead letter."""

import json
import random
from collections.abc import Callable
from typing import Any, Final

import msgspec

Fields = dict[str, Any]


class Spoiled(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes of a record that no stage can use, the key it travels under, and what is wrong."""

    key: str
    value: bytes
    reason: str


def _encoded(fields: Fields) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


def _cut_off(fields: Fields) -> bytes:
    return _encoded(fields)[:-7]


def _without_amount(fields: Fields) -> bytes:
    return _encoded({name: value for name, value in fields.items() if name != "amount"})


def _amount_as_words(fields: Fields) -> bytes:
    return _encoded({**fields, "amount": "a lot"})


def _amount_not_a_number(fields: Fields) -> bytes:
    return _encoded({**fields, "amount": float("nan")})  # json writes NaN, which is no JSON


def _absurd_time(fields: Fields) -> bytes:
    return _encoded({**fields, "occurred_at": 10**17})  # the year 3,170,843


def _account_missing(fields: Fields) -> bytes:
    return _encoded({**fields, "account_id": None})


def _not_an_object(fields: Fields) -> bytes:
    return b"[" + _encoded(fields) + b"]"


WAYS: Final[dict[str, Callable[[Fields], bytes]]] = {
    "cut_off": _cut_off,
    "without_amount": _without_amount,
    "amount_as_words": _amount_as_words,
    "amount_not_a_number": _amount_not_a_number,
    "absurd_time": _absurd_time,
    "account_missing": _account_missing,
    "not_an_object": _not_an_object,
}


def spoil(key: str, fields: Fields, rng: random.Random) -> Spoiled:
    """A copy of a good payment, under another event id, spoiled in a way drawn from ``WAYS``."""
    reason = rng.choice(list(WAYS))
    copy = {**fields, "event_id": f"{fields['event_id']}-bad"}
    return Spoiled(key=key, value=WAYS[reason](copy), reason=reason)
