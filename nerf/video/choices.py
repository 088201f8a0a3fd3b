"""The words by which a user names what is filmed; here so that the command line need not load torch."""

PATHS = ("auto", "orbit", "arc", "spiral", "eight", "tour", "keys", "test")
SHOWN = ("rgb", "depth", "normals", "opacity")
PREVIEWS = ("baked", "coarse")
EASES = ("linear", "smooth")
