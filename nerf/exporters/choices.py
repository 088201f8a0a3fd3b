"""The words by which a user names how something is exported; here so that the command line need not load torch."""

METHODS = ("auto", "density", "fusion")
DEPTH_FORMATS = ("png", "npy")
UNITS = ("m", "cm", "mm", "in", "ft")
UPS = ("x", "y", "z", "-x", "-y", "-z")
FLOORS = ("keep", "cut")
