"""Queries of the API in RMA, the original's query language, over SQLite."""
