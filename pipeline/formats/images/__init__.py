"""Section images: TIFF, JPEG, PNG, JPEG 2000."""
