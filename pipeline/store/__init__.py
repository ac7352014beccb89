"""The one place that knows zarr: OME-Zarr images, the arrays of a run, and what is done and what is not."""
