"""What a run reads: configuration, pixels, references, alignments."""
