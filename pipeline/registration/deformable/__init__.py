"""Displacement fields beyond the affine fit: smooth, within each section's plane and of the whole brain."""

from pipeline.registration.deformable.refinement import DEFORMABLE, refine

__all__ = ["DEFORMABLE", "refine"]
