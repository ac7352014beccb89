"""One file a stage, the table of all, and what runs a task."""
