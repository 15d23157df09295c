"""Soft state: what is known of the cluster that is not agreed, never on disk and may be stale.

The loops write it, the doors and the allocator read it. Losing it costs a second of looking again.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from roheletd.fields import EngineKind
from roheletd.instance_use import InstanceUse, with_use_of
from roheletd.telemetry import GpuProcess, Telemetry, smoothed


class BrokerLink(Struct, frozen=True, kw_only=True):
    """The MQTT link of this node; `reason` says why there is none."""

    mode: str
    url: str = ""
    connected: bool = False
    protocol: str = ""
    reason: str = "not connected yet"
    reconnects: int = 0
    dropped: int = 0


class EngineLink(Struct, frozen=True, kw_only=True):
    """The engine of this node; `reason` says why it does not answer.

    `unenforced` names limits (cores, quota, memory) that it cannot hold instances to here.
    `host_address` is where its instances reach this node; empty where that is not known.
    `ends_containers`: when it restarts, every container ends.
    """

    kind: EngineKind
    name: str = ""
    version: str = ""
    address: str = ""
    reachable: bool = False
    reason: str = "not asked yet"
    unenforced: tuple[str, ...] = ()
    host_address: str = ""
    ends_containers: bool = False

    def lost(self, reason: str) -> "EngineLink":
        return replace(self, reachable=False, reason=reason)


class SoftState:
    """Everything soft of one node's daemon."""

    def __init__(self, *, broker: BrokerLink, engine: EngineLink) -> None:
        self.broker = broker
        self.links: tuple[BrokerLink, ...] = ()
        """Each broker of the list that was tried; `broker` is the first one that is connected."""
        self.engine = engine
        self.telemetry: dict[str, Telemetry] = {}
        self.instances: dict[str, dict[str, InstanceUse]] = {}
        """Per node: each instance as that node last said, which is at once when one changes."""
        self.instances_changed = 0
        """How often it became otherwise which of them run, are healthy, and where they are."""
        self.addresses: dict[str, str] = {}
        """Per node: where other nodes reach it, as it last said."""
        self.own_addresses: Mapping[str, str] = {}
        """Of instances of this node that have an address of their own, that only it can reach."""
        self.usual_millicores: dict[str, dict[int, float]] = {}
        """Per node: use per core, smoothed over some seconds, so that one spike decides nothing."""
        self.waiting: dict[str, str] = {}
        """Service to the reason why some of its replicas have no place; the leader's view."""
        self.waiting_times: dict[str, tuple[float, float]] = {}
        """The same services: since when, and until when they rest, on the monotonic clock."""
        self.refused_ports: dict[str, dict[int, float]] = {}
        """Per node: host ports that something else was found to hold, and until when to avoid them.

        A port sensor sees only what listens now, and says so some seconds later.
        """
        self.refused_images: dict[str, dict[str, tuple[float, str]]] = {}
        """Per node: `short_name` of images that it could not get: until when to avoid it, and why.

        What a registry does not have now it may have later, so that this is forgotten by itself.
        """
        self.failed_services: dict[str, dict[tuple[str, int], tuple[float, str]]] = {}
        """Per node: services, by name and revision, that failed there again and again: until when
        not to try them there, and how they did.
        """
        self.images: tuple[str, ...] | None = None
        """What the engine of this node has; null while it has not said."""
        self.gpu_processes: tuple[Mapping[int, GpuProcess], ...] = ()
        """By device of this node: what each process used of it when it was sampled last."""
        self.strangers: tuple[str, ...] = ()
        """Containers with the labels of this node that it did not make, and leaves alone."""
        self.notices: dict[str, str] = {}
        """Part of the daemon to what is wrong with it, where it goes on all the same."""
        self.dropped_messages: dict[str, int] = {}
        """Reason to count of the messages that were not acted on."""
        self.dropped_frames: dict[str, int] = {}
        """The same of what nodes say to each other."""
        self.leader_nonce = ""
        """What a signed MQTT command has to repeat, as the leader said last."""
        self._leader_term = 0

    def count_dropped(self, reason: str) -> None:
        self.dropped_messages[reason] = self.dropped_messages.get(reason, 0) + 1

    @property
    def dropped(self) -> dict[str, int]:
        """Reason to count of all that was not acted on."""
        return {**self.dropped_messages, **self.dropped_frames}

    def heard_telemetry(self, report: Telemetry, *, steady_s: float = 0.0) -> None:
        """A node's newest report.

        One of a shorter time than `steady_s`, as at a start, says nothing of what is usual. One
        without `images` does not speak of them: what the node said last goes on to hold.
        """
        node = report.node
        before = self.telemetry.get(node)
        if report.images is None and before is not None and before.images is not None:
            report = replace(report, images=before.images)
        self.telemetry[node] = report
        self.heard_instances(node, report.instances)
        if report.cpu is not None and report.interval_s >= steady_s:
            self.usual_millicores[node] = smoothed(
                self.usual_millicores.get(node, {}),
                report.cpu.used_millicores,
                interval_s=report.interval_s,
            )

    def heard_instances(self, node: str, instances: Iterable[InstanceUse]) -> None:
        """Of one that says nothing of its use, what was measured last goes on to hold."""
        before = self.instances.get(node, {})
        self.instances[node] = {
            use.instance: with_use_of(use, before.get(use.instance)) for use in instances
        }
        if _conditions(before) != _conditions(self.instances[node]):
            self.instances_changed += 1

    def heard_address(self, node: str, address: str) -> None:
        if self.addresses.get(node) != address:
            self.addresses[node] = address
            self.instances_changed += 1

    def found_addresses(self, found: Mapping[str, str]) -> None:
        if found != self.own_addresses:
            self.own_addresses = found
            self.instances_changed += 1

    def forget(self, node: str) -> None:
        """A node that is lost: what it said of itself is of the past."""
        self.telemetry.pop(node, None)
        if self.instances.pop(node, None):
            self.instances_changed += 1
        self.usual_millicores.pop(node, None)
        self.refused_ports.pop(node, None)
        self.refused_images.pop(node, None)
        self.failed_services.pop(node, None)

    def leader_said(self, term: int, nonce: str) -> None:
        if term >= self._leader_term:
            self._leader_term, self.leader_nonce = term, nonce


def _conditions(uses: Mapping[str, InstanceUse]) -> dict[str, tuple[str, str]]:
    return {name: (use.state, use.health) for name, use in uses.items()}
