"""The nouns that all share: data set, alignment, grid, sums, ontology, reference space, intensity, errors."""
