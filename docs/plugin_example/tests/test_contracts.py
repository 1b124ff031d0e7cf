"""The promises of genflow's interfaces, one line for each part; run with pytest, or as a script."""

from __future__ import annotations

import torch
from genflow_plugin_example.metric import energy_distance
from genflow_plugin_example.model import DiagonalNormal
from genflow_plugin_example.parts import SSP3, Coordinates, Cosine, Spiral

from genflow.naming import registry
from genflow.testing import check_divergence, check_integrator, check_model, check_scheduler, check_velocity


def test_velocity():
    check_velocity(Spiral(3))


def test_divergence():
    check_divergence(Coordinates(2))
    check_divergence(Coordinates(2), event_ndim=3)


def test_integrator():
    check_integrator(SSP3())


def test_scheduler():
    check_scheduler(Cosine())


def test_model():
    check_model(DiagonalNormal)


def test_metric():
    x = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    assert energy_distance(x, x) < 1e-6 < energy_distance(x, x + 1)


def test_they_are_registered():
    brought = {"velocity": "spiral", "divergence": "coordinates", "integrator": "ssp3", "scheduler": "cosine"}
    brought |= {"model": "diagonal-normal", "metric": "energy"}
    for kind, name in brought.items():
        assert registry.lookup(kind, name).__module__.startswith("genflow_plugin_example"), name


if __name__ == "__main__":
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test()
            print(name, "holds")
