"""What a section image shows: scan, glass, tissue, folds, artifacts, and its statistics."""
