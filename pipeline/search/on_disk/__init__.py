"""An index on disk: snapshot, writer, experiments."""
