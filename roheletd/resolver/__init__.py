"""A small resolver for this node and its containers: `.rohe` from here, all else from elsewhere.

`answers` gives each query its answer. `wire` speaks DNS and is the only one that does, `upstream`
passes on what is not ours as it came.
"""
