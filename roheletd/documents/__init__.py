"""A file's bytes to plain values: None, bool, int, float, str, list and dict, nothing else.

Every file and every request body comes through here, so what is dangerous or ambiguous is refused
in one place, always with the position and with what was expected:

- more than 1 MiB, text that is not UTF-8, more than 64 levels, more than 100 000 values (aliases
  count as often as they are used, so that a "YAML bomb" is refused before it is expanded);
- tags, merge keys (but in Compose files, which live on them), several documents in one file;
- a key that is there twice: of two services with one name, one would silently be lost;
- NaN, infinity, integers beyond 64 bits, U+0000 and lone surrogates, which no later door accepts.

A word that YAML 1.1 and YAML 1.2 read differently is text, and so never something its writer did
not mean: `on`, `no`, `010`, `1_000`, `0x1f`, dates, and `10:20:30`, which 1.1 takes for a number
in base 60 and which is how MAC addresses look. A key is always the text that is written, as in
JSON.
"""

from roheletd.documents.json_text import load_json

__all__ = ["load", "load_json"]


def load(text: bytes, *, name: str) -> object:
    """The values in a JSON or YAML document; None for an empty one.

    `name` is the file's name as the user gave it: it heads every message, and `.json` means JSON.
    Text with no such ending (standard input) is JSON where it starts with `{` or `[`.
    Raises nothing but `InvalidInput`.
    """
    ending = name.lower().rpartition(".")[2]
    looks_like_json = ending not in {"yaml", "yml"} and text.lstrip()[:1] in {b"{", b"["}
    if ending == "json" or looks_like_json:
        return load_json(text, name=name)
    # Where there is no YAML to read, its parser (4 MB, 15 ms on a small board) stays out.
    from roheletd.documents.yaml_text import load_yaml  # noqa: PLC0415

    return load_yaml(text, name=name)
