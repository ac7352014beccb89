"""Reference volumes and expression grids."""
