"""Runs first in the frozen binary: what it starts must not inherit what only it needs.

The boot loader points LD_LIBRARY_PATH at the bundled libraries, which would be loaded by
mosquitto, a shell or a supervised process in place of the system's. And a onefile binary that
starts itself would share the folder that the first one unpacked, and lose it when that one ends.
"""

import os

original = os.environ.pop("LD_LIBRARY_PATH_ORIG", None)
if original is None:
    os.environ.pop("LD_LIBRARY_PATH", None)
else:
    os.environ["LD_LIBRARY_PATH"] = original
os.environ["PYINSTALLER_RESET_ENVIRONMENT"] = "1"
