"""Where the frozen binary starts; beside no module of ours, so that none hides a library's."""

import sys

from roheletd.cli import main

sys.exit(main())
