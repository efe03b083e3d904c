"""How deep JSON nests, told before anything is parsed: of records and of bodies alike. Pure."""


def nesting_depth(value: bytes) -> int:
    """How deep a JSON text nests, brackets within strings not counted."""
    deepest = depth = 0
    in_string = escaped = False
    for byte in value:
        if in_string:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_string = False
        elif byte == 0x22:
            in_string = True
        elif byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest
