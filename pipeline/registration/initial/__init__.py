"""Initial alignment: orientation, plane and half of the series, then a pose for every section."""
