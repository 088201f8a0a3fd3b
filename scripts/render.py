"""``python scripts/render.py ...`` is ``nerf render ...``."""

import sys

from nerf.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["render", *sys.argv[1:]]))
