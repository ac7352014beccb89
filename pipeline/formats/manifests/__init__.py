"""Manifests of a series: CSV and YAML, or Allen's data_set.xml."""
