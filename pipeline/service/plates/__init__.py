"""Plates and drawings cut from the annotated reference."""
