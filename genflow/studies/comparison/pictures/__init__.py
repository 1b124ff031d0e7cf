"""The pictures of a comparison, each kind in a file of its own; `genflow.studies.comparison.plots` lists them."""
