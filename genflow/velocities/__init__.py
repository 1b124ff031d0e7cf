"""Velocity fields: networks, and fields made of other fields."""

from genflow.velocities.activations import ACTIVATIONS
from genflow.velocities.cell_posterior import CellPosterior
from genflow.velocities.chain import Chain
from genflow.velocities.chebyshev import Chebyshev
from genflow.velocities.flattened import Flattened
from genflow.velocities.function import FunctionVelocity, as_velocity
from genflow.velocities.graph_attention import GraphAttention
from genflow.velocities.guided import Guided, NullCondition, OptionalCondition, conditional, optional, strike_out
from genflow.velocities.hollow import Hollow
from genflow.velocities.linear import Linear
from genflow.velocities.parallel import Mean, Parallel
from genflow.velocities.potential import PotentialGradient
from genflow.velocities.probability_flow import ProbabilityFlow
from genflow.velocities.residual import ResidualMLP
from genflow.velocities.shallow import Shallow
from genflow.velocities.unet import UNet

__all__ = [
    "ACTIVATIONS",
    "CellPosterior",
    "Chain",
    "Chebyshev",
    "Flattened",
    "FunctionVelocity",
    "GraphAttention",
    "Guided",
    "Hollow",
    "Linear",
    "Mean",
    "NullCondition",
    "OptionalCondition",
    "Parallel",
    "PotentialGradient",
    "ProbabilityFlow",
    "ResidualMLP",
    "Shallow",
    "UNet",
    "as_velocity",
    "conditional",
    "optional",
    "strike_out",
]
