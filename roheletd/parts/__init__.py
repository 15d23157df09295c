"""The composition root: makes every part of one life of a node, and hands each what it needs.

`root` makes the groups in this order, and joins what they have to tell each other. A group is given
by name what it needs of those before it; what comes later is called through the root.

| group | holds |
|---|---|
| `basis` | what is no loop: the configuration, who we are, the agreed state, what was heard |
| `agreed_log` | Raft's core, the elector that drives it, the proposer, forwarded commands |
| `brokers` | which brokers this node and the others link to |
| `telling` | what this node says of itself: announcer, registrar and, made last, the reporter |
| `discovery` | forwarder and resolver: the way to a service from here |
| `own_instances` | what runs here: runner, prober, keepers of images |
| `streaming` | logs of instances, and commands within them, from any node to any other |
| `doors` | control, operations, and the ways in to them: HTTP and MQTT |
| `leading` | leader work: allocation, rollouts, rebalancing, voters |
| `linking` | links to the brokers, and the receiver that says where a message goes |
"""

from roheletd.parts.root import Loop, Parts

__all__ = ["Loop", "Parts"]
