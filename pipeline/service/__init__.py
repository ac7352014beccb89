"""The HTTP API of the atlas, and a viewer, over finished runs."""
