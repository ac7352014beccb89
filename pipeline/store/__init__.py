"""Storage: OME-Zarr images, the arrays of a run, its results as xarray, and receipts of finished tasks.

Only this package knows zarr and xarray.
"""
