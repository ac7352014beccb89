"""The machine: whole files, locks, threads, peak memory, lazy imports."""
