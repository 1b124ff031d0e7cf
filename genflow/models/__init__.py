"""Models of genflow: JKO-iFlow, continuous normalizing flows, flow matching, flows in latent spaces."""

from genflow.models.autoencoders import Autoencoder, ConvolutionalAutoencoder
from genflow.models.cnf import CNF, WarmUp
from genflow.models.costs import HJB, JacobianNorm, Kinetic, RunningCost
from genflow.models.discretization import Discretization
from genflow.models.flow_matching import FlowMatching
from genflow.models.jko_iflow import JKOiFlow
from genflow.models.jko_settings import BlockNetwork, ProximalStep, Rounds, Stages
from genflow.models.latent import LatentFlow
from genflow.models.likelihood import StageDisagreement
from genflow.models.matching import Matching
from genflow.models.published import PublishedJKOiFlow
from genflow.training import Optimization

__all__ = [
    "CNF",
    "HJB",
    "Autoencoder",
    "BlockNetwork",
    "ConvolutionalAutoencoder",
    "Discretization",
    "FlowMatching",
    "JKOiFlow",
    "JacobianNorm",
    "Kinetic",
    "LatentFlow",
    "Matching",
    "Optimization",
    "ProximalStep",
    "PublishedJKOiFlow",
    "Rounds",
    "RunningCost",
    "StageDisagreement",
    "Stages",
    "WarmUp",
]
