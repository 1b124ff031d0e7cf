"""Models of genflow: JKO-iFlow, continuous normalizing flows, flow matching, flows in latent spaces."""

from genflow.models.autoencoders import Autoencoder, ConvolutionalAutoencoder
from genflow.models.cnf import CNF
from genflow.models.flow_matching import FlowMatching
from genflow.models.jko_iflow import JKOiFlow
from genflow.models.latent import LatentFlow
from genflow.models.likelihood import StageDisagreement
from genflow.models.matching import Matching
from genflow.models.published import PublishedJKOiFlow

__all__ = [
    "CNF",
    "Autoencoder",
    "ConvolutionalAutoencoder",
    "FlowMatching",
    "JKOiFlow",
    "LatentFlow",
    "Matching",
    "PublishedJKOiFlow",
    "StageDisagreement",
]
