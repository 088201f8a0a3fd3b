"""``python -m nerf ...`` is ``nerf ...``."""

import os
import sys

if __name__ == "__main__":
    # Python looks for modules in the current folder first. That may be a stranger's capture with a yaml.py in it.
    if sys.path and sys.path[0] in ("", os.getcwd()) and not getattr(sys.flags, "safe_path", False):
        del sys.path[0]

    from nerf.cli.main import main

    sys.exit(main())
