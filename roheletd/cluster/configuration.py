"""Config maps and secrets: named values that instances are given as variables or as files.

An edition of a service uses of each the newest generation that is not newer than the edition is.
So a change reaches an instance with the rollout that it causes and not before, and what goes back
to an earlier edition goes back to the values of then:

    generations of `db`       5           20            31
    editions of `web`              12     20     27     31      each uses what is above or before it

Of the older generations those are kept that an edition may still be run with.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from msgspec import Struct

from roheletd.cluster.definition import Edition
from roheletd.model import Service
from roheletd.upkeep import Inclusion

Kind = Literal["config map", "secret"]
KINDS: tuple[Kind, ...] = ("config map", "secret")

GENERATIONS_MAX = 10
"""Of one config map or secret; an edition that needs one of before uses the oldest that is left."""


class Sealed(Struct, frozen=True, array_like=True, eq=False, forbid_unknown_fields=True):
    """An encrypted value. `mark` is equal for equal values of the same key of the same secret."""

    box: bytes
    mark: bytes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sealed) and self.mark == other.mark

    def __hash__(self) -> int:
        return hash(self.mark)


Content = bytes | Sealed


class Generation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All values by key, as the entry of the log left them that is `version`."""

    version: int
    values: dict[str, Content]

    @property
    def size_bytes(self) -> int:
        return size_bytes(self.values)


class SavedConfiguration(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The generations by name, the newest last."""

    config_maps: dict[str, tuple[Generation, ...]] = {}
    secrets: dict[str, tuple[Generation, ...]] = {}


class Included(Struct, frozen=True, kw_only=True):
    """What one instance is given: that generation, at that path or as variables.

    `version` 0: there is none of that name any more.
    """

    kind: Kind
    name: str
    version: int
    path: str | None = None
    any_user: bool = False


class Configuration:
    """All config maps and secrets of the agreed state."""

    def __init__(self, saved: SavedConfiguration) -> None:
        self._generations: dict[Kind, dict[str, tuple[Generation, ...]]] = {
            "config map": dict(saved.config_maps),
            "secret": dict(saved.secrets),
        }

    def saved(self) -> SavedConfiguration:
        return SavedConfiguration(
            config_maps=dict(self._generations["config map"]),
            secrets=dict(self._generations["secret"]),
        )

    def names(self, kind: Kind) -> list[str]:
        return sorted(self._generations[kind])

    def newest(self, kind: Kind, name: str) -> Generation | None:
        kept = self._generations[kind].get(name)
        return kept[-1] if kept else None

    def values(self, kind: Kind, name: str, version: int) -> Mapping[str, Content] | None:
        """None where that generation is forgotten."""
        kept = self._generations[kind].get(name, ())
        return next((it.values for it in kept if it.version == version), None)

    def version_for(self, kind: Kind, name: str, revision: int) -> int:
        """The generation that an edition of this revision uses; 0: there is nothing to use."""
        kept = self._generations[kind].get(name, ())
        earlier = [it.version for it in kept if it.version <= revision]
        return earlier[-1] if earlier else next((it.version for it in kept), 0)

    def included(self, edition: Edition) -> tuple[Included, ...]:
        """All that an instance of this edition is given, config maps first."""
        return tuple(
            Included(
                kind=kind,
                name=item.name,
                version=self.version_for(kind, item.name, edition.revision),
                path=item.path,
                any_user=item.any_user,
            )
            for kind, item in inclusions(edition.service)
        )

    def missing(self, service: Service) -> tuple[Kind, str] | None:
        """The first that `service` includes and that is not there."""
        return next(
            (
                (kind, item.name)
                for kind, item in inclusions(service)
                if item.name not in self._generations[kind]
            ),
            None,
        )

    def size_bytes(self, editions: Iterable[Edition]) -> int:
        """Of all generations of all of them that are needed, for these are all editions."""
        by_name = (kept for of_kind in self._needed(editions).values() for kept in of_kind.values())
        return sum(it.size_bytes for kept in by_name for it in kept)

    def set(
        self,
        kind: Kind,
        name: str,
        values: Mapping[str, Content],
        *,
        index: int,
        editions: Iterable[Edition],
    ) -> None:
        """A new generation; of older ones, also of others, those stay that an edition uses.

        `editions` are those of all services.
        """
        new = Generation(version=index, values=dict(values))
        self._generations[kind][name] = (*self._generations[kind].get(name, ()), new)
        self._generations = self._needed(editions)
        self._generations[kind][name] = self._generations[kind][name][-GENERATIONS_MAX:]

    def remove(self, kind: Kind, name: str) -> None:
        del self._generations[kind][name]

    def check(self, index: int) -> None:
        """Assert what must hold after every entry, of which `index` is the last."""
        for kept in self._all():
            versions = [it.version for it in kept]
            assert 0 < len(versions) <= GENERATIONS_MAX, versions
            assert versions == sorted(set(versions)), versions
            assert 0 < versions[0] <= versions[-1] <= index, versions
            assert all(it.values for it in kept), "nothing is no value"

    def _needed(self, editions: Iterable[Edition]) -> dict[Kind, dict[str, tuple[Generation, ...]]]:
        """The newest generation of each, and those that one of the editions uses."""
        used = {
            (kind, item.name, self.version_for(kind, item.name, edition.revision))
            for edition in editions
            for kind, item in inclusions(edition.service)
        }
        return {
            kind: {
                name: (*(it for it in kept[:-1] if (kind, name, it.version) in used), kept[-1])
                for name, kept in self._generations[kind].items()
            }
            for kind in KINDS
        }

    def _all(self) -> Iterator[tuple[Generation, ...]]:
        return (kept for kind in KINDS for kept in self._generations[kind].values())


def inclusions(service: Service) -> Iterator[tuple[Kind, Inclusion]]:
    """What a service is given, config maps first."""
    yield from (("config map", item) for item in service.config_maps)
    yield from (("secret", item) for item in service.secrets)


def users_of(kind: Kind, name: str, services: Iterable[Service]) -> list[str]:
    """The services that include it, by name."""
    return sorted(
        service.name
        for service in services
        if any((kind, name) == (of, item.name) for of, item in inclusions(service))
    )


def size_bytes(values: Mapping[str, Content]) -> int:
    return sum(
        len(key) + len(value.box if isinstance(value, Sealed) else value)
        for key, value in values.items()
    )
