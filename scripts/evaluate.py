"""``python scripts/evaluate.py ...`` is ``nerf evaluate ...``."""

import sys

from nerf.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
