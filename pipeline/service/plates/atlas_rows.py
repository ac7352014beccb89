"""The atlases cut from a reference as rows of the atlas's models."""

from __future__ import annotations

from typing import Any

from pipeline.core.reference_space import ReferenceSpace
from pipeline.service.plates.atlases import ATLASES, Atlas, AtlasImage, annotated_planes, atlas_images
from pipeline.service.plates.drawing import GROUP, GROUP_NAME

IMAGE_TYPE = GROUP_NAME  # of annotated plates, as clients ask for them


def atlas_rows(reference: ReferenceSpace) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of the atlases' models.

    Parameters
    ----------
    reference : ReferenceSpace
        The reference that plates are cut from.

    Returns
    -------
    dict of str to list of dict
        Rows by model: Atlas, AtlasDataSet (with `atlas_id`), AtlasImage, AlternateImage (of an annotated
        plate, with its id), GraphicGroupLabel and GraphicObject (the group of an annotated plate).
    """
    rows: dict[str, list[dict[str, Any]]] = {
        "GraphicGroupLabel": [{"id": GROUP, "name": GROUP_NAME, "color": "000000"}],
        "Atlas": [],
        "AtlasDataSet": [],
        "AtlasImage": [],
        "AlternateImage": [],
        "GraphicObject": [],
    }
    there = {plane: annotated_planes(reference, plane) for plane in ("coronal", "sagittal")}
    for atlas in ATLASES.values():
        rows["Atlas"].append(_atlas_row(reference, atlas))
        rows["AtlasDataSet"].append(_data_set_row(reference, atlas))
        for image in atlas_images(reference, atlas.id):
            annotated = bool(there[atlas.plane][image.section_number])
            rows["AtlasImage"].append(_image_row(image, atlas, annotated))
            if annotated:
                rows["AlternateImage"].append(
                    {"id": image.id, "sub_image_id": image.id, "image_type": IMAGE_TYPE}
                )
                rows["GraphicObject"].append(_group_row(image))
    return rows


def _atlas_row(reference: ReferenceSpace, atlas: Atlas) -> dict[str, Any]:
    return {
        "id": atlas.id,
        "name": atlas.name,
        "structure_graph_id": 1,
        "specimen_id": None,
        "xyz_sort": None,
        "treatment_id": None,
        "graphic_group_label_id": GROUP,
        "reference_space_id": reference.id,
        "image_type": IMAGE_TYPE,
    }


def _data_set_row(reference: ReferenceSpace, atlas: Atlas) -> dict[str, Any]:
    return {
        "id": atlas.data_set_id,
        "atlas_id": atlas.id,
        "name": atlas.name,
        "type": "AtlasDataSet",
        "plane_of_section_id": 1 if atlas.plane == "coronal" else 2,
        "failed": False,
        "section_thickness": reference.annotation_um,
        "expression": False,
        "reference_space_id": reference.id,
    }


def _image_row(image: AtlasImage, atlas: Atlas, annotated: bool) -> dict[str, Any]:
    return {
        "id": image.id,
        "type": "AtlasImage",
        "x": 0,
        "y": 0,
        "width": image.width,
        "height": image.height,
        "section_number": image.section_number,
        "failed": False,
        "data_set_id": atlas.data_set_id,
        "resolution": image.resolution_um,
        "tier_count": image.tier_count,
        "image_width": image.width,
        "image_height": image.height,
        "annotated": annotated,
        "image_type": "Primary",
    }


def _group_row(image: AtlasImage) -> dict[str, Any]:
    return {
        "id": image.first_path_id,
        "type": "GraphicGroup",
        "parent_id": None,
        "graphic_group_label_id": GROUP,
        "sub_image_id": image.id,
        "structure_id": None,
    }
