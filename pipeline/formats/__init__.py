"""Everything that reads and writes files other than zarr: images, manifests, alignments, volumes, tables."""
