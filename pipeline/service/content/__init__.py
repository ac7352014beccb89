"""What is served: folders are looked through, read, numbered, and checked against the reference."""
