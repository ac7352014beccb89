"""Storage: OME-Zarr images, the arrays of a run, and receipts of finished tasks.

Only this package knows zarr.
"""
