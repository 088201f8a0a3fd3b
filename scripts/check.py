"""``python scripts/check.py ...`` is ``nerf check ...``."""

import sys

from nerf.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["check", *sys.argv[1:]]))
