"""From the sections of one brain to a volume: reading, placing jointly, evening, stacking."""
