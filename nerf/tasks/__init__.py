"""What is learned: one file a purpose, all trained by `nerf.training`."""
