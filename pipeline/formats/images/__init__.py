"""Readers and writers of section images: TIFF, JPEG, PNG, JPEG 2000."""
