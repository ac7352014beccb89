"""References and grids."""
