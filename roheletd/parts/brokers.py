"""Which brokers there are, by the configuration, what this node runs, and the agreed state."""

from roheletd.broker import readable
from roheletd.loops.elector import Elector
from roheletd.parts.basis import Basis
from roheletd.startup import url_for_others


class Brokers:
    """Asked anew whenever the agreed state has changed."""

    def __init__(self, basis: Basis, *, elector: Elector) -> None:
        self._basis = basis
        self._elector = elector

    def ours(self) -> tuple[str, ...]:
        """Where to link to, best first: what the configuration says, else the voters' own."""
        found, me = self._basis.found, self._basis.me
        urls, own = found.urls, self._basis.own_broker
        if found.broker.mode == "external" or not me.shared:
            return urls
        known = readable(self._of_voters())
        if len(known) < 2:  # noqa: PLR2004 - who is alone may meet the others where they were
            known = tuple(dict.fromkeys((*known, *me.brokers)))
        # Our own is there when no cable is.
        return tuple(urls[0] if url == own else url for url in known) or urls

    def for_others(self) -> tuple[str, ...]:
        """What a node that joins is told."""
        found = self._basis.found
        if found.broker.mode == "external":
            return found.urls
        known = self._of_voters()
        if known or found.keeper is None:
            return known
        host, port = self._basis.address.host, self._basis.config.broker.port
        return (url_for_others(host, port),)  # as it will be once the cluster is shared

    def why_none(self) -> str:
        """What this node itself has to do with it that it has no link; empty: nothing it knows."""
        found = self._basis.found
        if not self.ours():
            return found.broker.why
        return found.keeper.trouble if found.keeper else ""

    def _of_voters(self) -> tuple[str, ...]:
        return self._basis.state.brokers(self._elector.core.configuration.voters)
