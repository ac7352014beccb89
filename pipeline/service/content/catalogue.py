"""What a server serves: experiments, their sections and where each lies on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.model import SectionDataSet, SectionImage
from pipeline.geometry.sync import SyncGeometry
from pipeline.service.http.answers import RequestError


@dataclass(frozen=True)
class Entry:
    """What the database knows of one served experiment.

    Attributes
    ----------
    id : int
        SectionDataSet id.
    folder, stamp : str
        Where it lies, and the state of its files when its rows were made.
    is_run : bool
        Whether it is a run.
    sections : mapping of int to int
        SectionImage ids by section number.
    summary : mapping of str to Any
        What lists show of it.
    """

    id: int
    folder: str
    stamp: str
    is_run: bool
    sections: Mapping[int, int]
    summary: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class ServedSection:
    """One section image of a served experiment.

    Attributes
    ----------
    id : int
        Id of the SectionImage: unique over all experiments, below 2**31, the same at every start.
    experiment_id : int
        Id of its SectionDataSet.
    image : SectionImage
        Frame, tissue box and bits; `path` is the image file or OME-Zarr folder as the run read it, absolute,
        None where there never was one. The file may have moved since.
    status : str
        pass, check, fail or missing.
    run : Path or None
        Folder of the run that holds its mask and thumbnail; None for served grids.
    flags : tuple of str
        What the run notes on the section.
    estimated_error_um : float or None, um
        Estimated error of its place; None where it was not aligned by this pipeline.
    """

    id: int
    experiment_id: int
    image: SectionImage
    status: str = "pass"
    run: Path | None = None
    flags: tuple[str, ...] = ()
    estimated_error_um: float | None = None

    @property
    def mask(self) -> Path | None:
        """OME-Zarr folder of the expression mask, where the run has one."""
        folder = self.run / "expression.zarr" / str(self.image.section_number) if self.run else None
        return folder if folder is not None and folder.is_dir() else None


@dataclass(frozen=True, eq=False)
class ServedExperiment:
    """One served experiment.

    Attributes
    ----------
    id : int
        Id of the SectionDataSet.
    folder : Path
        The run, or the folder with data_set.xml and grids.
    data_set : SectionDataSet
        The series; its sections carry the paths of their images.
    sections : mapping of int to ServedSection
        Sections by section number, ascending.
    geometry : SyncGeometry or None
        Alignment with deformations; None where the series has none.
    is_run : bool
        Whether the folder is a run.
    stamp : str
        Changes whenever the folder's outputs do.
    notes : tuple of str
        Errors and warnings of the run.
    """

    id: int
    folder: Path
    data_set: SectionDataSet
    sections: Mapping[int, ServedSection]
    geometry: SyncGeometry | None
    is_run: bool
    stamp: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Catalogue:
    """All experiments that are served, as they were at one moment.

    Attributes
    ----------
    experiments : mapping of int to ServedExperiment
        By id, ascending.
    section_of : mapping of int to (int, int)
        Experiment id and section number of each SectionImage id.
    entries : tuple of Entry
        What lists show of the experiments, ascending by id.
    """

    experiments: Mapping[int, ServedExperiment]
    section_of: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    entries: tuple[Entry, ...] = ()

    def experiment(self, experiment_id: int) -> ServedExperiment:
        """Return an experiment.

        Parameters
        ----------
        experiment_id : int
            Id of a SectionDataSet.

        Returns
        -------
        ServedExperiment
            The experiment.

        Raises
        ------
        RequestError
            With 404 where it is not served; the message names some that are.
        """
        found = self.experiments.get(experiment_id)
        if found is None:
            raise RequestError(
                f"SectionDataSet {experiment_id}: not served here; {_some(self.experiments)}", status=404
            )
        return found

    def section(self, section_image_id: int) -> ServedSection:
        """Return a section.

        Parameters
        ----------
        section_image_id : int
            Id of a SectionImage.

        Returns
        -------
        ServedSection
            The section.

        Raises
        ------
        RequestError
            With 404 where it is not served; the message names some that are.
        """
        place = self.section_of.get(section_image_id)
        if place is None:
            raise RequestError(
                f"SectionImage {section_image_id}: not served here; {_some(self.section_of)}", status=404
            )
        return self.experiment(place[0]).sections[place[1]]


def _some(ids: Mapping[int, object], most: int = 3) -> str:
    """Return words that name what exists."""
    if not ids:
        return "nothing is served"
    named = ", ".join(str(one) for one, _ in zip(ids, range(most), strict=False))
    return f"served are {named}" + (f" and {len(ids) - most} more" if len(ids) > most else "")
