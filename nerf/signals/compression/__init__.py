"""Pictures as small files: wavelet coefficients, entropy-coded by a tiny network that travels in the file.

Decoding needs this package, numpy and constriction: no torch, no run folder. The weights of its network are integers,
and its transform is elementwise double precision in a fixed order, so that every decoder finds the same pixels.
"""
