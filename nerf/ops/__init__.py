"""The engine's functions: public call, gradient, and the plain-torch reference that tests compare with."""
