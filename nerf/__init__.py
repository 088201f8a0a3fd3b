"""nerf: 3D reconstruction from posed photographs with implicit neural representations."""

__version__ = "0.1.0"
