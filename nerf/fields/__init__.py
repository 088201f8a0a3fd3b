"""Functions of a position that are learned: encodings, networks, and what they are put together to."""
