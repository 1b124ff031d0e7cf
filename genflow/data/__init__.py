"""Data: toys, Gaussian mixtures, a sensor network, tables, pictures, bundled real data; invertible preprocessing.

Example:
    >>> import genflow as gf
    >>> data = gf.data.load("two-moons")
    >>> data.train.shape, data.columns
    (torch.Size([16000, 2]), ['x', 'y'])
"""

from __future__ import annotations

from genflow.data.conditions import Conditions, Encoding
from genflow.data.dataset import Dataset, split
from genflow.data.idx import read_idx
from genflow.data.kinds import Column, Schema
from genflow.data.loading import downloads, holds_pictures, load, names
from genflow.data.mixtures import GaussianMixture
from genflow.data.pictures import PICTURES, Picture
from genflow.data.preprocessing import Compose, Logit, Preprocessor, Standardize, Whiten
from genflow.data.reading import TABLES
from genflow.data.rows import rows_of
from genflow.data.sensors import SensorNetwork
from genflow.data.streams import Source, stream
from genflow.data.tables import read, read_columns, read_with_condition
from genflow.data.writing import WRITABLE, write

__all__ = [
    "PICTURES",
    "TABLES",
    "WRITABLE",
    "Column",
    "Compose",
    "Conditions",
    "Dataset",
    "Encoding",
    "GaussianMixture",
    "Logit",
    "Picture",
    "Preprocessor",
    "Schema",
    "SensorNetwork",
    "Source",
    "Standardize",
    "Whiten",
    "downloads",
    "holds_pictures",
    "load",
    "names",
    "read",
    "read_columns",
    "read_idx",
    "read_with_condition",
    "rows_of",
    "split",
    "stream",
    "write",
]
