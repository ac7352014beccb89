"""Search over thousands of experiments: kernels on voxels that are stored along the structure tree."""
