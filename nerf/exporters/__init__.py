"""What other programs read: meshes, point clouds, depth maps, cameras; one module an output."""
