"""`python -m roheletd` is `roheletd`."""

import sys

from roheletd.cli import main

sys.exit(main())
