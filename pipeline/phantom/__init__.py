"""A procedural mouse brain, and a renderer of ISH series with known truth.

- `phantom_reference(spacing_um)` makes the brain: annotation, template and ontology, without any file.
- `sagittal_geometry(reference, sections, resolution_um)` and `coronal_geometry(..)` cut any reference.
  `geometry_from(data_set, alignment, resolution_um)` takes the geometry of a real series. `with_margin`
  adds glass for large extra poses. `turned` rotates or mirrors the images. `reversed_numbers` numbers the
  sections in the opposite order. Series that share `Cut(brain_seed=..)` and `specimen_seed` are cut from
  one brain.
- `StructureExpression({"DG-sg": 165.0})` or `GridExpression(energy)` states what the gene expresses.
- `RenderOptions(seed=.., extra_rotation_deg=4, extra_shift_um=150, warp_um=60, ..)`: everything is off by
  default except sensor noise and faint cells.
- `scene = build_scene(reference, geometry, expression, options)`, then `render_section(scene, index)` for
  every index of `scene.images`, except images whose number is in `scene.missing`. A `RenderedSection` has
  `pixels`, (h, w, 3) uint8, and `truth`: `pixel_map.to_reference(points)`, `expressing`, `tissue`,
  `artifacts`, `structures`, `voxels` (sums of this section, in drawn pixels).
- `geometry.alignment` is the alignment that the series may provide. `true_alignment(scene)` also contains
  the extra poses. `pixel_map(scene, image)` gives the true place of every pixel without drawing it.
"""

from pipeline.phantom.brain import PHANTOM_UM, check_spacing, phantom_reference
from pipeline.phantom.cut import Cut, coronal_geometry, sagittal_geometry
from pipeline.phantom.expression import PHANTOM_GENE, GridExpression, StructureExpression
from pipeline.phantom.geometry import (
    SeriesGeometry,
    drawn,
    geometry_from,
    reversed_numbers,
    turned,
    with_margin,
)
from pipeline.phantom.mapping import PixelMap
from pipeline.phantom.options import RenderOptions
from pipeline.phantom.render import (
    RenderedSection,
    Scene,
    SectionTruth,
    build_scene,
    pixel_map,
    render_section,
    true_alignment,
)

__all__ = [
    "PHANTOM_GENE",
    "PHANTOM_UM",
    "Cut",
    "GridExpression",
    "PixelMap",
    "RenderOptions",
    "RenderedSection",
    "Scene",
    "SectionTruth",
    "SeriesGeometry",
    "StructureExpression",
    "build_scene",
    "check_spacing",
    "coronal_geometry",
    "drawn",
    "geometry_from",
    "phantom_reference",
    "pixel_map",
    "render_section",
    "reversed_numbers",
    "sagittal_geometry",
    "true_alignment",
    "turned",
    "with_margin",
]
