"""Readers and writers of all files other than zarr: images, manifests, alignments, volumes, tables."""
