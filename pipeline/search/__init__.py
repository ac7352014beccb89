"""Search over thousands of experiments: pure kernels on voxels kept in the order of the structure tree."""
