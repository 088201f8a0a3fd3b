"""``python scripts/export.py ...`` is ``nerf export ...``."""

import sys

from nerf.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
