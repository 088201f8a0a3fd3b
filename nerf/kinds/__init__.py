"""Kinds of `nerf fit` that export through meshes or are measured indirectly: shapes, computed tomography, MRI."""
