"""What is fitted: the painted atlas, the stain table, the state of all transforms."""
