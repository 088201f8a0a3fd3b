"""The words by which a user names what is exported; here so that the command line need not load torch to know them."""

PATHS = ("auto", "orbit", "spiral", "eight", "tour", "keys", "test")
SHOWN = ("rgb", "depth", "normals", "opacity")
PREVIEWS = ("baked", "coarse")
EASES = ("linear", "smooth")
METHODS = ("auto", "density", "fusion")
UNITS = ("m", "cm", "mm", "in", "ft")
UPS = ("x", "y", "z", "-x", "-y", "-z")
