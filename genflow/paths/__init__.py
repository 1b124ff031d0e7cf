r"""Paths from data to noise, and the regression along them: what flow matching, interpolants and diffusions share.

.. math:: x_t = \alpha(t) x + \sigma(t) z + \gamma(t) \varepsilon

==============  ===============================================  ==============================================
part            question                                         built in
==============  ===============================================  ==============================================
`Path`          by which way does data become noise?             linear, trigonometric, VP, VE, EDM, bridges, …
`Coupling`      which noise goes with which row?                 independent, exact and entropic transport
`Prediction`    what does the network predict?                   noise, data, angle, rate, preconditioned
`Times`         at which times does the regression look?         uniform in t or log-SNR, log-normal, …
`Weighting`     how much does an error count there?              unweighted, simple, likelihood, EDM, min-SNR
==============  ===============================================  ==============================================

`genflow.models.Matching` is the one model, and the one loss, that is made of them.
"""

from genflow.interfaces import GaussianPath, Path
from genflow.paths.couplings import Coupling, EntropicTransport, Independent, OptimalTransport
from genflow.paths.diffusions import EDM, Cosine, SubVariancePreserving, VarianceExploding, VariancePreserving
from genflow.paths.discrete import DiscreteSteps, Tabulated
from genflow.paths.interpolants import (
    BrownianBridge,
    ConditionalOT,
    Interpolant,
    Linear,
    LinearInterpolant,
    Trigonometric,
)
from genflow.paths.learned import Learned
from genflow.paths.predictions import Angle, Data, Noise, Preconditioned, Prediction, Rate
from genflow.paths.times import LogitNormal, LogNormal, PowerLaw, Steps, Times, UniformLogSNR, UniformTime
from genflow.paths.weightings import EDMWeighting, Likelihood, MinSNR, Simple, Unweighted, Weighting

__all__ = [
    "EDM",
    "Angle",
    "BrownianBridge",
    "ConditionalOT",
    "Cosine",
    "Coupling",
    "Data",
    "DiscreteSteps",
    "EDMWeighting",
    "EntropicTransport",
    "GaussianPath",
    "Independent",
    "Interpolant",
    "Learned",
    "Likelihood",
    "Linear",
    "LinearInterpolant",
    "LogNormal",
    "LogitNormal",
    "MinSNR",
    "Noise",
    "OptimalTransport",
    "Path",
    "PowerLaw",
    "Preconditioned",
    "Prediction",
    "Rate",
    "Simple",
    "Steps",
    "SubVariancePreserving",
    "Tabulated",
    "Times",
    "Trigonometric",
    "UniformLogSNR",
    "UniformTime",
    "Unweighted",
    "VarianceExploding",
    "VariancePreserving",
    "Weighting",
]
