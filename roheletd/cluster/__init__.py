"""The agreed state of the cluster and the decisions made from it. Pure."""
