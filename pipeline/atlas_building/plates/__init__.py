"""Annotated plates: how they are read, and the labels between them."""
