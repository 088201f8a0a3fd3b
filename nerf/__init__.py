"""nerf: 3D reconstruction from posed photographs with implicit neural representations."""

import os

__version__ = "0.1.0"

# Tables and pictures are read at random: huge pages save most page-table walks. torch asks Linux for them if told so
# before its first tensor.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
