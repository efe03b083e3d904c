"""Any record: values of every type that the records are made of."""

import types
import typing
from enum import Enum
from typing import Annotated, Any, Final, get_args, get_origin

import msgspec
from hypothesis import strategies as st

# JSON keeps 64-bit integers exactly; beyond them readers differ.
INTEGERS: Final = st.integers(-(2**63), 2**63 - 1)
NUMBERS: Final = st.floats(allow_nan=False, allow_infinity=False)
TEXTS: Final = st.text(max_size=8)
RAW: Final = st.sampled_from([b"{}", b'{"a":1}', b"[1,2]", b"null", b'"x"']).map(msgspec.Raw)


def any_record(record: type[Any]) -> st.SearchStrategy[Any]:
    """Instances of that record with every field given."""
    hints = typing.get_type_hints(record, include_extras=True)
    if all(get_origin(hint) is list for hint in hints.values()):
        return st.integers(0, 2).flatmap(lambda rows: columns(record, hints, rows))
    return st.builds(record, **{name: any_value(hint) for name, hint in hints.items()})


def columns(record: type[Any], hints: dict[str, Any], rows: int) -> st.SearchStrategy[Any]:
    """Instances of a record of columns, which are of one length."""
    cells = {name: any_value(get_args(hint)[0]) for name, hint in hints.items()}
    return st.builds(
        record,
        **{name: st.lists(cell, min_size=rows, max_size=rows) for name, cell in cells.items()},
    )


def any_value(hint: Any) -> st.SearchStrategy[Any]:
    """Values of one type."""
    simple = {int: INTEGERS, float: NUMBERS, str: TEXTS, bool: st.booleans(), msgspec.Raw: RAW}
    simple |= {bytes: st.binary(max_size=8), type(None): st.none()}
    if get_origin(hint) is Annotated:  # INTEGERS are within the bounds that any record states
        return any_value(get_args(hint)[0])
    if hint in simple:
        return simple[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        return st.one_of([any_value(each) for each in arguments])
    if origin is dict:
        return st.dictionaries(any_value(arguments[0]), any_value(arguments[1]), max_size=2)
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(any_value(arguments[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*[any_value(each) for each in arguments])
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(hint)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return any_record(hint)
    raise TypeError(f"no values of {hint!r} are known here")
