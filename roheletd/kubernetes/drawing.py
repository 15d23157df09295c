"""One service while it is rendered: what is known of it, and what is to be said about it."""

from typing import Any

from roheletd.kubernetes.names import name_of
from roheletd.model import Service

Object = dict[str, Any]


class Drawing:
    """`pinned_to`: the only nodes on which it may run; empty: wherever it fits."""

    def __init__(self, service: Service, pinned_to: tuple[str, ...] = ()) -> None:
        self.service = service
        self.name = name_of(service.name)
        self.pinned_to = pinned_to
        self.labels_used: set[str] = set()
        self.notes: list[str] = []
        if self.name != service.name:
            self.note(f"is called {self.name} there")

    def note(self, remark: str) -> None:
        self.notes.append(remark)
