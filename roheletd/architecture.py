"""One name for each kind of processor, whichever of the kernel's, Debian's or Docker's is given."""

_SHORT = {
    "aarch64": "arm64",
    "armhf": "arm",
    "armv6l": "arm",
    "armv7l": "arm",
    "i386": "386",
    "i686": "386",
    "x64": "amd64",
    "x86_64": "amd64",
    "x86-64": "amd64",
}


def architecture(name: str) -> str:
    lower = name.lower()
    return _SHORT.get(lower, lower)
