"""Section images, masks and plates at any size and region."""
