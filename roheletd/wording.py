"""How a refusal repeats what it was given: recognisable, and never long."""

_LETTERS_MAX = 60
_BITS_MAX = 64


def shown(value: object) -> str:
    """A plain value of a document, in the words of JSON."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{repr(value[:_LETTERS_MAX])[1:-1]}"'
    if isinstance(value, int):
        return str(value) if value.bit_length() <= _BITS_MAX else "a huge number"
    if isinstance(value, float):
        return repr(value)
    return "a mapping" if isinstance(value, dict) else "a list"
