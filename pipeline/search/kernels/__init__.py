"""The numbers of a search: orders, codes, sums, correlation, differential."""
