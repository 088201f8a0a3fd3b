"""A field in its box, rendered: the model, its occupied cells, losses and metrics."""
