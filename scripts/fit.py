"""``python scripts/fit.py ...`` is ``nerf fit ...``."""

import sys

from nerf.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["fit", *sys.argv[1:]]))
