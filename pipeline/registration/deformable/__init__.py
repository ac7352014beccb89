"""Beyond affine: smooth deformations of the sections, in their planes and of the whole brain."""

from pipeline.registration.deformable.refinement import DEFORMABLE, refine

__all__ = ["DEFORMABLE", "refine"]
