"""What a person should know of this node's container engine, though it answers."""

from roheletd.cluster.soft import SoftState


def engine_doubts(soft: SoftState) -> list[str]:
    """Each with its remedy."""
    engine = soft.engine
    found = []
    if engine.ends_containers:
        found.append(
            f"when {engine.name} restarts, every container of this node ends: set "
            '"live-restore": true in /etc/docker/daemon.json, then sudo systemctl reload docker '
            "(leave its Swarm mode first, if it is in one)"
        )
    remove = f"{engine.name.lower() or 'docker'} rm -f"
    found += [
        f"container {name} has the labels of this node, but roheletd did not make it: it is left "
        f"alone (to end it: {remove} {name})"
        for name in soft.strangers
    ]
    return found
