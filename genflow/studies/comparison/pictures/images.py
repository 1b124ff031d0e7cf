"""Pictures of data that are pictures themselves: test rows and samples as mosaics."""

from __future__ import annotations

import numpy as np

from genflow.studies.comparison.pictures.view import View
from genflow.studies.reporting.mosaics import Mosaic, classes_of, mosaics
from genflow.studies.reporting.plot import Picture

__all__ = ["has_classes", "samples"]


def has_classes(view: View) -> bool:
    """Whether the test rows are of classes."""
    return classes_of(view.parts, view.description, np.arange(len(view.test))) is not None


def samples(view: View) -> Picture:
    """Test rows and samples of every model, at random, or line by line of one class."""
    own = classes_of(view.parts, view.description, np.arange(len(view.test)))
    found = [Mosaic("data", view.rows.colour, view.test, own)]
    for shown in view.models:
        classes = classes_of(view.parts, view.description, shown.arrays.get("drawn_at"))
        found.append(Mosaic(shown.label, shown.colour, shown.rows, classes))
    return mosaics(found, tuple(view.description["image_shape"]), view.train[:1000])
