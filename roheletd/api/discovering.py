"""The verb of discovery: the registry, as the forwarder and the resolver of this node read it."""

from roheletd.api.grounds import Grounds
from roheletd.api.problems import NotFound
from roheletd.api.registry import RegisteredPort, Registry, RegistryAsked
from roheletd.cluster.registry import ServicePort, dns_name, registry
from roheletd.cluster.service_ports import PORT_MAX, PORT_MIN


class Discovering(Grounds):
    """Who serves what, where."""

    async def registry(self, request: RegistryAsked, _id: str) -> Registry:
        """Each service's stable ports, and its running instances with their addresses."""
        if request.service is not None and request.service not in self._state.services:
            raise NotFound(f"there is no service {request.service}")
        lost = self._membership.lost_for_s(self._state.expected, self._clock.now_s())
        found = registry(
            self._state,
            self._soft,
            me=self._node,
            is_lost=lost.__contains__,
            names=None if request.service is None else (request.service,),
        )
        return Registry(node=self._node, ports=tuple(self._registered(it) for it in found))

    def _registered(self, it: ServicePort) -> RegisteredPort:
        return RegisteredPort(
            service=it.service,
            application=it.application,
            name=dns_name(it.service, self._cluster),
            port=it.port,
            protocol=it.protocol,
            service_port=it.service_port,
            healthy=len(it.healthy),
            problem="" if it.service_port else self._problem(it),
            endpoints=it.endpoints,
        )

    def _problem(self, it: ServicePort) -> str:
        ports = self._state.services[it.service].service.ports
        if asked := next(port.service_port for port in ports if it.is_of(port)):
            return f"{asked} is the service_port of another service: choose another one"
        return f"all of {PORT_MIN} to {PORT_MAX} are given away: choose a service_port"
