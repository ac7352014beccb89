"""The model that is fitted: rendered atlas, stain table, transforms, and sections placed by hand."""
