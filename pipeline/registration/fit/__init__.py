"""How it is fitted: Gauss-Newton on all sections at once."""
