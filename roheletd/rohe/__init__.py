"""ROHE's command files: services and nodes, in both generations of field names.

What a file means is decided here and said in `notes`, for the person who imports it:

- the unit of cores (100 or 1000 per core) is the one whose sum is nearest to the CPU figure beside
  it, since ROHE's own files use both;
- an accelerator of 0 percent is none asked; ROHE then placed nothing at all;
- the host port in a mapping is a wish: ROHE never reserved it, and its own example has nine
  services that all name 4002;
- what ROHE kept in the file about the present (status, used, instance_ids, ...) is left out.

All or nothing: one wrong value refuses the file, with its path and what was expected.
"""

from roheletd.rohe.nodes import nodes_from
from roheletd.rohe.notes import Imported
from roheletd.rohe.selection import Selection, selection_from
from roheletd.rohe.services import services_from

__all__ = ["Imported", "Selection", "nodes_from", "selection_from", "services_from"]
