"""Where a fit begins: orientation, plane and half, placement of every section."""
