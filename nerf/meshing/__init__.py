"""From a field to a surface: volumes, marching cubes, meshes, textures, files."""
