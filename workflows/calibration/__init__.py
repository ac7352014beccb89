"""Rendered series with known truth, and what is fitted on them."""
