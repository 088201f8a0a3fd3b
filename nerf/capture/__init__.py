"""What a capture says before training: where the scene is, what is empty, how good the pictures are."""
