"""What is asked and answered about who serves what, where."""

from roheletd.api.views import Request, Response
from roheletd.cluster.registry import Endpoint
from roheletd.fields import Name, Protocol


class RegistryAsked(Request, frozen=True):
    """The ports of one service; null: of all."""

    service: Name | None = None


class RegisteredPort(Response, frozen=True):
    """One port of a service, and the running instances behind it, those of this node first.

    `service_port` is open on every node and leads to a healthy one; 0: there is none, `problem`
    says why. `name` resolves to the nodes of the healthy ones. `port` is that within an instance.
    """

    service: str
    application: str
    name: str
    port: int
    protocol: Protocol
    service_port: int
    healthy: int
    problem: str = ""
    endpoints: tuple[Endpoint, ...] = ()


class Registry(Response, frozen=True):
    """All ports of all services, as this node sees them."""

    node: str
    ports: tuple[RegisteredPort, ...]
