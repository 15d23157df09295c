"""The names of container images: one image has many, and two nodes must mean the same by theirs."""

_HUB = ("docker.io/", "index.docker.io/")
_OFFICIAL = "library/"


def short_name(image: str) -> str:
    """The one name of an image, whichever way it was written: the shortest, with its tag.

    `nginx`, `nginx:latest` and `docker.io/library/nginx:latest` are all `nginx:latest`. A digest
    says all, and a tag beside it is left out, as every engine does. `localhost/nginx` is another
    image: engines take `localhost` for a registry. No image has no name.
    """
    if not image:
        return ""
    name, at, digest = image.partition("@")
    path, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    name = f"{path}{slash}{last}"
    for registry in _HUB:
        name = name.removeprefix(registry)
    # `library/` is left out at the hub alone, and there only before a single word.
    if name.startswith(_OFFICIAL) and name.count("/") == 1:
        name = name.removeprefix(_OFFICIAL)
    return f"{name}@{digest}" if at else f"{name}:{tag or 'latest'}"


def registry(image: str) -> str:
    """Where an image is fetched from: a host, with its port where one is named."""
    first, slash, _ = image.partition("/")
    is_host = slash and (first == "localhost" or "." in first or ":" in first)
    return first if is_host and f"{first}/" not in _HUB else "docker.io"


def has_digest(image: str) -> bool:
    """Whether it is named by what it is, so that fetching it again could bring nothing new."""
    return "@" in image
