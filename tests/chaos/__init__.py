"""Real daemons, brokers and engines on hosts of their own, and everything that may happen to them.

After each fault: what was acknowledged is there, on all nodes alike; each service is at its number
of replicas; and no instance has run twice for longer than `roheletd/cluster/isolation.py` allows.
"""
