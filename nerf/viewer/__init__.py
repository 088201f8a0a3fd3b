"""A scene in a browser: the shader that evaluates its field, what the page knows, and the server that shows it live."""
