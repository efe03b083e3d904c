"""Options that several commands share: a dataclass of them stands for all in a command."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the fields of each parameter that is a dataclass as options of its own."""
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for each in inspect.signature(command).parameters.values():
        if is_dataclass(each.annotation):
            groups[each.name] = each.annotation
            parameters += [
                inspect.Parameter(
                    field.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=inspect.Parameter.empty if field.default is MISSING else field.default,
                    annotation=field.type,
                )
                for field in fields(each.annotation)
            ]
        else:
            parameters.append(each.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    def wrapper(**given: Any) -> None:
        made = {
            name: kind(**{field.name: given.pop(field.name) for field in fields(kind)})
            for name, kind in groups.items()
        }
        command(**given, **made)

    wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
    wrapper.__annotations__ = {each.name: each.annotation for each in parameters}
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return wrapper
