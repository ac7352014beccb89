"""Fitting: Gauss-Newton on the poses of all sections and one 3-D affine at once, and a template baseline."""
