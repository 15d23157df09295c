"""The verbs of config maps and secrets. What is secret is sealed before it goes anywhere."""

from collections.abc import Mapping

from msgspec.structs import replace

from roheletd.api import views
from roheletd.api.configuration import ConfigMaps, Kept, Secrets, Values, ValuesToSet
from roheletd.api.grounds import Grounds
from roheletd.api.problems import NotFound
from roheletd.cluster.commands import RemoveConfigMap, RemoveSecret, SetConfigMap, SetSecret
from roheletd.cluster.configuration import Content, Generation, Kind, Sealed, users_of
from roheletd.errors import InvalidInput


class Configuring(Grounds):
    """Set, show and forget them."""

    async def config_maps(self, _request: views.Nothing, _id: str) -> ConfigMaps:
        """All config maps: their keys, and the services that are given them."""
        return ConfigMaps(config_maps=self._all_kept("config map"))

    async def secrets(self, _request: views.Nothing, _id: str) -> Secrets:
        """All secrets: their keys, and the services that are given them; no values."""
        return Secrets(secrets=self._all_kept("secret"))

    async def config_map(self, request: views.ByName, _id: str) -> Values:
        """The values of a config map."""
        return self._shown("config map", request.name)

    async def secret(self, request: views.ByName, _id: str) -> Values:
        """The values of a secret, in plain text."""
        return self._shown("secret", request.name)

    async def set_config_map(self, request: ValuesToSet, command_id: str) -> views.Changes:
        """Set values of a config map; the services that are given it are rolled out."""
        command = SetConfigMap(name=request.name, values=_plain(request), replace=request.replace)
        changes = await self._commit(command, command_id)
        return self._with_rollouts("config map", request.name, changes)

    async def set_secret(self, request: ValuesToSet, command_id: str) -> views.Changes:
        """Set values of a secret; the services that are given it are rolled out."""
        sealed = {
            key: self._vault.seal(request.name, key, value)
            for key, value in _plain(request).items()
        }
        command = SetSecret(name=request.name, values=sealed, replace=request.replace)
        changes = await self._commit(command, command_id)
        return self._with_rollouts("secret", request.name, changes)

    async def remove_config_map(self, request: views.ByName, command_id: str) -> views.Changes:
        """Forget a config map that no service is given."""
        return await self._commit(RemoveConfigMap(name=request.name), command_id)

    async def remove_secret(self, request: views.ByName, command_id: str) -> views.Changes:
        """Forget a secret that no service is given."""
        return await self._commit(RemoveSecret(name=request.name), command_id)

    def _all_kept(self, kind: Kind) -> tuple[Kept, ...]:
        return tuple(
            Kept(
                name=name,
                version=found.version,
                keys=tuple(sorted(found.values)),
                services=self._services_given(kind, name),
            )
            for name in self._state.configuration.names(kind)
            if (found := self._state.configuration.newest(kind, name)) is not None
        )

    def _shown(self, kind: Kind, name: str) -> Values:
        found = self._state.configuration.newest(kind, name)
        if found is None:
            raise NotFound(f"there is no {kind} {name}")
        plain = self._opened(name, found)
        texts = {key: text for key, value in plain.items() if (text := _text(value)) is not None}
        return Values(
            name=name,
            version=found.version,
            keys=tuple(sorted(plain)),
            services=self._services_given(kind, name),
            data=texts,
            binary={key: value for key, value in plain.items() if key not in texts},
        )

    def _opened(self, name: str, found: Generation) -> Mapping[str, bytes]:
        def opened(key: str, value: Content) -> bytes:
            return self._vault.open(name, key, value) if isinstance(value, Sealed) else value

        return {key: opened(key, value) for key, value in sorted(found.values.items())}

    def _services_given(self, kind: Kind, name: str) -> tuple[str, ...]:
        services = (known.service for known in self._state.services.values())
        return tuple(users_of(kind, name, services))

    def _with_rollouts(self, kind: Kind, name: str, changes: views.Changes) -> views.Changes:
        if changes.changed.get(name) != "updated":
            return changes
        notes = tuple(
            f"service {service} is rolled out with it"
            for service in self._services_given(kind, name)
        )
        return replace(changes, notes=notes)


def _plain(request: ValuesToSet) -> dict[str, bytes]:
    for key in request.data.keys() & request.binary.keys():
        raise InvalidInput(f"$.binary.{key}", "expected each key once, got it in `data` as well")
    found = {key: value.encode() for key, value in request.data.items()} | request.binary
    if not found:
        raise InvalidInput("$.data", "expected at least one key")
    return found


def _text(value: bytes) -> str | None:
    """None for what JSON and a terminal could not show."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text
