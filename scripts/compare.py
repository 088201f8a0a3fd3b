"""``python scripts/compare.py ...`` is ``nerf compare ...``."""

import sys

from nerf.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["compare", *sys.argv[1:]]))
