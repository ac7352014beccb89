"""Where a pixel lies: affine maps, displacement fields, image synchronisation."""
