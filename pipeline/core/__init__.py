"""Shared domain types: data set, alignment, grid, sums, ontology, reference space, intensity, errors."""
