"""Alignment files of this and other programs."""
