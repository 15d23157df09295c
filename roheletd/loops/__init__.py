"""Everything that runs for ever: one file, one class and one `run()` each.

A loop waits for an event, asks pure code what to do, and does it through an edge. It carries no
policy of its own. A loop that raises ends the daemon.
"""
