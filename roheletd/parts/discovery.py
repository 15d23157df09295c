"""How a service is found from this node: by its stable port, and by its name."""

from roheletd.cluster.names import zone
from roheletd.loops.forwarder import Forwarder
from roheletd.loops.resolver import Resolver
from roheletd.parts.basis import Basis
from roheletd.resolver.upstream import Upstream


class Discovery:
    """The forwarder leads where the agreed state and what was heard say; the resolver tells it."""

    def __init__(self, basis: Basis) -> None:
        self.forwarder = _forwarder(basis)
        self.resolver = _resolver(basis)

    def search(self) -> tuple[str, ...]:
        """The domains of containers that are made now."""
        return self.resolver.search() if self.resolver else ()

    def wake(self) -> None:
        if self.forwarder is not None:
            self.forwarder.wake()


def _forwarder(basis: Basis) -> Forwarder | None:
    section = basis.config.discovery
    if not section.forwarder:
        return None
    return Forwarder(
        node=basis.me.node,
        listen=section.listen,
        connections_max=section.connections_max,
        wait_s=section.wait_s,
        state=basis.state,
        soft=basis.soft,
        membership=basis.membership,
        clock=basis.clock,
    )


def _resolver(basis: Basis) -> Resolver | None:
    section = basis.config.discovery
    if not section.dns:
        return None

    def is_lost(node: str) -> bool:
        return basis.membership.lost_since_s(node, basis.clock.now_s()) is not None

    return Resolver(
        listen=section.dns_listen or "",
        port=section.dns_port,
        zone=zone(
            basis.state,
            basis.soft,
            cluster=basis.me.cluster,
            me=basis.me.node,
            is_lost=is_lost,
            rng=basis.rng,
        ),
        soft=basis.soft,
        upstream=Upstream(),
        clock=basis.clock,
    )
