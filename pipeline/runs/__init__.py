"""Many series: plan, sweep, compare, status, and the API."""
