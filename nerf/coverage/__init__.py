"""What photographs tell of a trained scene's surface, and which further ones would tell most."""
