"""One module for each stage, the table of stages, and the function that runs a task."""
