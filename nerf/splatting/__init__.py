"""Gaussian splats of a field: what other programs render; fitted to it, and written to their files."""
