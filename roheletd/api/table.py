"""Every verb, in one table: its name, where it is asked, what it takes and what it gives.

The doors serve this table, and the OpenAPI document describes it.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Literal

from msgspec import Struct

from roheletd.api import configuration, exports, views
from roheletd.api.operations import Operations
from roheletd.api.registry import Registry, RegistryAsked
from roheletd.api.volumes import VolumeList, VolumesAsked, VolumeToRemove


class Operation(Struct, frozen=True):
    """One verb: its name, its HTTP method and path, what it takes, what it gives, what does it.

    Not `over_mqtt` are those about this very node, for a command there is the leader's, and those
    whose answer or content is a secret, for whoever has the broker's password reads along. A
    `guarded` read needs the token over TCP, however open the others are.
    """

    name: str
    method: Literal["GET", "POST", "DELETE"]
    path: str
    request: type[views.Request]
    response: type[views.Response]
    run: Callable[[Operations, Any, str], Awaitable[views.Response]]
    over_mqtt: bool = True
    guarded: bool = False

    @property
    def writes(self) -> bool:
        return self.method != "GET"

    @property
    def summary(self) -> str:
        """One line for people, from where the verb is carried out."""
        return (self.run.__doc__ or self.name).partition("\n")[0]


OPERATIONS = (
    Operation("status", "GET", "/status", views.Nothing, views.Status, Operations.status),
    Operation("ready", "GET", "/readyz", views.Nothing, views.Ready, Operations.ready),
    Operation(
        "leader", "GET", "/api/v1/leader", views.Nothing, views.LeaderView, Operations.leader
    ),
    Operation("nodes", "GET", "/api/v1/nodes", views.Nothing, views.Nodes, Operations.nodes),
    Operation(
        "add-nodes", "POST", "/api/v1/nodes", views.NodesToAdd, views.Changes, Operations.add_nodes
    ),
    Operation(
        "remove-node",
        "DELETE",
        "/api/v1/nodes/{name}",
        views.ByName,
        views.Changes,
        Operations.remove_node,
    ),
    Operation(
        "cordon",
        "POST",
        "/api/v1/nodes/{name}/cordon",
        views.ByName,
        views.Changes,
        Operations.cordon,
    ),
    Operation(
        "uncordon",
        "POST",
        "/api/v1/nodes/{name}/uncordon",
        views.ByName,
        views.Changes,
        Operations.uncordon,
    ),
    Operation(
        "drain",
        "POST",
        "/api/v1/nodes/{name}/drain",
        views.ByName,
        views.Changes,
        Operations.drain,
    ),
    Operation(
        "undrain",
        "POST",
        "/api/v1/nodes/{name}/undrain",
        views.ByName,
        views.Changes,
        Operations.undrain,
    ),
    Operation(
        "draining",
        "GET",
        "/api/v1/nodes/{name}/drain",
        views.ByName,
        views.DrainView,
        Operations.draining,
    ),
    Operation(
        "label-node",
        "POST",
        "/api/v1/labels",
        views.Labelling,
        views.Changes,
        Operations.label_node,
    ),
    Operation(
        "services", "GET", "/api/v1/services", views.Nothing, views.Services, Operations.services
    ),
    Operation(
        "add-services",
        "POST",
        "/api/v1/services",
        views.ServicesToAdd,
        views.Changes,
        Operations.add_services,
    ),
    Operation(
        "remove-service",
        "DELETE",
        "/api/v1/services/{name}",
        views.ByName,
        views.Changes,
        Operations.remove_service,
    ),
    Operation(
        "scale",
        "POST",
        "/api/v1/scale",
        views.Scaling,
        views.Changes,
        Operations.scale,
    ),
    Operation(
        "restart",
        "POST",
        "/api/v1/services/{name}/restart",
        views.ByName,
        views.Changes,
        Operations.restart,
    ),
    Operation(
        "rollback",
        "POST",
        "/api/v1/services/{name}/rollback",
        views.ByName,
        views.Changes,
        Operations.rollback,
    ),
    Operation(
        "rollout",
        "GET",
        "/api/v1/services/{name}/rollout",
        views.ByName,
        views.RolloutView,
        Operations.rollout,
    ),
    Operation(
        "config-maps",
        "GET",
        "/api/v1/configmaps",
        views.Nothing,
        configuration.ConfigMaps,
        Operations.config_maps,
    ),
    Operation(
        "config-map",
        "GET",
        "/api/v1/configmaps/{name}",
        views.ByName,
        configuration.Values,
        Operations.config_map,
    ),
    Operation(
        "set-config-map",
        "POST",
        "/api/v1/configmaps",
        configuration.ValuesToSet,
        views.Changes,
        Operations.set_config_map,
    ),
    Operation(
        "remove-config-map",
        "DELETE",
        "/api/v1/configmaps/{name}",
        views.ByName,
        views.Changes,
        Operations.remove_config_map,
    ),
    Operation(
        "secrets",
        "GET",
        "/api/v1/secrets",
        views.Nothing,
        configuration.Secrets,
        Operations.secrets,
    ),
    Operation(
        "secret",
        "GET",
        "/api/v1/secrets/{name}",
        views.ByName,
        configuration.Values,
        Operations.secret,
        over_mqtt=False,
        guarded=True,
    ),
    Operation(
        "set-secret",
        "POST",
        "/api/v1/secrets",
        configuration.ValuesToSet,
        views.Changes,
        Operations.set_secret,
        over_mqtt=False,
    ),
    Operation(
        "remove-secret",
        "DELETE",
        "/api/v1/secrets/{name}",
        views.ByName,
        views.Changes,
        Operations.remove_secret,
    ),
    Operation(
        "instances",
        "GET",
        "/api/v1/instances",
        views.Nothing,
        views.Instances,
        Operations.instances,
    ),
    Operation("registry", "GET", "/api/v1/registry", RegistryAsked, Registry, Operations.registry),
    Operation(
        "events", "GET", "/api/v1/events", views.EventsAfter, views.EventList, Operations.events
    ),
    Operation("why", "GET", "/api/v1/why/{name}", views.SubjectAsked, views.Why, Operations.why),
    Operation(
        "what-if",
        "POST",
        "/api/v1/what-if",
        views.WhatIfAsked,
        views.WhatIf,
        Operations.what_if,
    ),
    Operation("plan", "POST", "/api/v1/plan", views.PlanAsked, views.Plan, Operations.plan),
    Operation(
        "apply", "POST", "/api/v1/apply", views.PlanToApply, views.AppliedPlan, Operations.apply
    ),
    Operation(
        "rebalance",
        "POST",
        "/api/v1/rebalance",
        views.Rebalancing,
        views.Rebalanced,
        Operations.rebalance,
    ),
    Operation(
        "exec",
        "POST",
        "/api/v1/exec",
        views.ExecAsked,
        views.ExecResult,
        Operations.exec,
        over_mqtt=False,
    ),
    Operation("volumes", "GET", "/api/v1/volumes", VolumesAsked, VolumeList, Operations.volumes),
    Operation(
        "remove-volume",
        "DELETE",
        "/api/v1/volumes/{name}",
        VolumeToRemove,
        views.Changes,
        Operations.remove_volume,
    ),
    Operation("use", "GET", "/api/v1/use/{name}", views.ByName, views.ServiceUse, Operations.use),
    Operation(
        "telemetry",
        "GET",
        "/api/v1/telemetry",
        views.Nothing,
        views.TelemetryList,
        Operations.telemetry,
    ),
    Operation(
        "export-kubernetes",
        "GET",
        "/api/v1/export/kubernetes",
        exports.ManifestsAsked,
        exports.Manifests,
        Operations.export_kubernetes,
    ),
    Operation(
        "export-rohe",
        "GET",
        "/api/v1/export/rohe",
        exports.Selection,
        exports.RoheResources,
        Operations.export_rohe,
    ),
    Operation(
        "import-services",
        "POST",
        "/api/v1/rohe/services",
        views.Document,
        views.Changes,
        Operations.import_services,
    ),
    Operation(
        "import-nodes",
        "POST",
        "/api/v1/rohe/nodes",
        views.Document,
        views.Changes,
        Operations.import_nodes,
    ),
    Operation(
        "reload-algorithm",
        "POST",
        "/api/v1/algorithm/reload",
        views.Nothing,
        views.Changes,
        Operations.reload_algorithm,
        over_mqtt=False,
    ),
    Operation(
        "cluster-status",
        "GET",
        "/api/v1/cluster",
        views.Nothing,
        views.ClusterView,
        Operations.cluster_status,
    ),
    Operation(
        "cluster-init",
        "POST",
        "/api/v1/cluster",
        views.ClusterToShare,
        views.Changes,
        Operations.cluster_init,
        over_mqtt=False,
    ),
    Operation(
        "cluster-token",
        "POST",
        "/api/v1/cluster/token",
        views.TokenWanted,
        views.TokenMade,
        Operations.cluster_token,
        over_mqtt=False,
    ),
    Operation(
        "cluster-join",
        "POST",
        "/api/v1/cluster/join",
        views.ClusterToJoin,
        views.Changes,
        Operations.cluster_join,
        over_mqtt=False,
    ),
    Operation(
        "cluster-leave",
        "POST",
        "/api/v1/cluster/leave",
        views.Nothing,
        views.Changes,
        Operations.cluster_leave,
        over_mqtt=False,
    ),
    Operation(
        "cluster-recover",
        "POST",
        "/api/v1/cluster/recover",
        views.Recovery,
        views.Changes,
        Operations.cluster_recover,
        over_mqtt=False,
    ),
    Operation(
        "cluster-remove",
        "DELETE",
        "/api/v1/cluster/members/{name}",
        views.ByName,
        views.Changes,
        Operations.cluster_remove,
    ),
)
"""Every verb there is. What is not in this table cannot be asked through any door."""

MQTT_OPERATIONS = tuple(operation for operation in OPERATIONS if operation.over_mqtt)
"""What can be asked as a command over MQTT, where the leader answers."""
