"""Many series: plan, sweep, compare, status, and the Python API."""
