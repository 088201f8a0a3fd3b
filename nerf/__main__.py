"""``python -m nerf ...`` is ``nerf ...``."""

import sys

from nerf.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
