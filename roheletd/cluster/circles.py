"""Services that depend on one another in a circle: the first of them would wait for itself."""

from collections.abc import Mapping

from roheletd.model import Service


def circle(services: Mapping[str, Service]) -> tuple[str, ...]:
    """Services that wait for each other, so that none of them would ever start; none: empty."""
    done: set[str] = set()
    for start in services:
        path: list[str] = []
        ahead = [iter((start,))]
        while ahead:
            name = next(ahead[-1], None)
            if name is None:
                ahead.pop()
                if path:
                    done.add(path.pop())
            elif name in path:
                return (*path[path.index(name) :], name)
            elif name in services and name not in done:
                path.append(name)
                ahead.append(iter([it.service for it in services[name].depends_on]))
    return ()
