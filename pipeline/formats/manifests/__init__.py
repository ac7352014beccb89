"""What a series says of itself: CSV and YAML, or data_set.xml."""
