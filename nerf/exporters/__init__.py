"""From a trained model to files that people hand on: pictures, films, meshes."""
