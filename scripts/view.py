"""``python scripts/view.py ...`` is ``nerf view ...``."""

import sys

from nerf.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["view", *sys.argv[1:]]))
