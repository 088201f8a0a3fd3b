"""``python scripts/train.py ...`` is ``nerf train ...``."""

import sys

from nerf.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
