"""Which images of a node may go: those that the daemon fetched and that nobody needs any more.

What a person has put there stays, and so does what an instance may still be started from: the image
of every service as it is, as it was before its last change, and as old instances still run it.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from msgspec import Struct

from roheletd.cluster.state import ClusterState
from roheletd.image import short_name


class StoredImage(Struct, frozen=True, kw_only=True):
    """An image of an engine. `is_used`: somebody's container is made from it, running or not."""

    id: str
    names: tuple[str, ...]
    size_mib: int
    is_used: bool = False


def needed(state: ClusterState) -> frozenset[str]:
    """`short_name` of every image that a placement may still ask for."""
    return frozenset(
        short_name(edition.service.image) for edition in state.editions() if edition.service.image
    )


def disposable(
    stored: Iterable[StoredImage], *, pulled: AbstractSet[str], needed: AbstractSet[str]
) -> dict[str, StoredImage]:
    """By id, what could go at once without harm."""
    return {
        it.id: it
        for it in stored
        if it.id in pulled and not it.is_used and needed.isdisjoint(it.names)
    }


def unused_since(
    before_s: Mapping[str, float], images: Iterable[str], now_s: float
) -> dict[str, float]:
    """For each disposable image, when it was first seen to be that."""
    return {image: before_s.get(image, now_s) for image in images}


def longest_unused(since_s: Mapping[str, float], *, until_s: float) -> list[str]:
    """Those that were disposable by `until_s`, the longest first."""
    found = [(at_s, image) for image, at_s in since_s.items() if at_s <= until_s]
    return [image for _, image in sorted(found)]
