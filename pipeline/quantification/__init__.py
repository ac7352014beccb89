"""From masks to numbers: section sums, the 200 um grid, structures."""
