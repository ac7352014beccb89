"""Operating-system services: bounded and atomic file access, locks, threads, peak memory, lazy imports."""
