"""From masks to numbers: 200 um grid, structures."""
