"""Where a pixel lies: affine maps, deformations, placement by hand, image sync."""
