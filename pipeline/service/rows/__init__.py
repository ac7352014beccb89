"""Rows of the models of the original, and the SQLite file that holds them."""
