"""Names of parts, models and metrics: what the command line, the studies and `genflow list` know them by.

A name is one of genflow's own (`jko-iflow`), one that an installed package adds by an entry point in the group
`genflow.models` (`genflow.velocities`, …), or `module:Name`, where the module may be one of the current folder, or a
file: `parts/mine.py:Name`. Nothing is imported before it is asked for.
"""

from __future__ import annotations

import difflib
import re
import sys
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from genflow.errors import InputError
from genflow.naming.own_modules import import_own_module, name_of_module

__all__ = ["KINDS", "Entry", "entries", "from_function", "lookup", "name_of", "names"]

KINDS = ("model", "velocity", "divergence", "integrator", "scheduler", "metric", "table metric")
"""What is registered, in the order in which it is listed."""

_GROUPS = {
    "model": "genflow.models",
    "velocity": "genflow.velocities",
    "divergence": "genflow.divergences",
    "integrator": "genflow.integrators",
    "scheduler": "genflow.schedulers",
    "metric": "genflow.metrics",
    "table metric": "genflow.table_metrics",
}

_BUILT_IN: dict[str, dict[str, tuple[str, str]]] = {
    "model": {
        "jko-iflow": ("genflow.models:JKOiFlow", "a chain of blocks, each one proximal step towards the normal law"),
        "jko-iflow-published": ("genflow.models:PublishedJKOiFlow", "the same by the recipe of its authors' code"),
        "cnf": ("genflow.models:CNF", "continuous normalizing flow, maximum likelihood with transport penalties"),
        "flow-matching": ("genflow.models:FlowMatching", "regression on straight paths from noise to data"),
        "latent": (
            "genflow.models:LatentFlow",
            "an autoencoder, and JKO-iFlow in its latent space: samples, no density",
        ),
        "score-sde": (
            "genflow.baselines:ScoreSDE",
            "variance-preserving diffusion, likelihood by its probability flow",
        ),
        "score-sde-ve": ("genflow.baselines:score_sde_ve", "variance-exploding diffusion"),
        "score-sde-subvp": ("genflow.baselines:score_sde_subvp", "sub-variance-preserving diffusion"),
        "ddpm": ("genflow.baselines:ddpm", "diffusion of 1000 levels, linear rates, ancestral sampling"),
        "ddpm-cosine": ("genflow.baselines:ddpm_cosine", "the same with the cosine schedule and min-SNR weights"),
        "edm": ("genflow.baselines:edm", "preconditioned denoiser at log-normal noises, Heun's sampler"),
        "v-diffusion": ("genflow.baselines:v_diffusion", "the angle of the cosine schedule, DDIM"),
        "vdm": ("genflow.baselines:vdm", "variational diffusion with a learned schedule"),
        "ot-cfm": ("genflow.baselines:ot_cfm", "flow matching with pairs of minibatch optimal transport"),
        "sb-cfm": ("genflow.baselines:sb_cfm", "flow matching with the marginals of a Schrödinger bridge"),
        "vp-cfm": ("genflow.baselines:vp_cfm", "flow matching along a quarter of a circle"),
        "lipman-cfm": ("genflow.baselines:lipman_cfm", "flow matching in its first form"),
        "interpolant": ("genflow.baselines:interpolant", "stochastic interpolant, blurred half way"),
        "logit-normal": ("genflow.baselines.logit_normal:logit_normal", "flow matching, mostly at times half way"),
        "rectified-flow": ("genflow.baselines:RectifiedFlow", "flow matching, then matching on its own pairs"),
        "mean-flow": ("genflow.baselines:MeanFlow", "the mean velocity of every interval: one step samples"),
        "ffjord": ("genflow.baselines:ffjord", "CNF with Hutchinson's estimator and an adaptive solver"),
        "rnode": ("genflow.baselines:rnode", "CNF with kinetic and Jacobian costs, four steps of RK4"),
        "ot-flow": ("genflow.baselines:ot_flow", "CNF of a potential, on the paths of optimal transport"),
        "nsf": ("genflow.baselines:NSF", "neural spline flow, autoregressive (zuko)"),
        "maf": ("genflow.baselines:MAF", "masked autoregressive flow (zuko)"),
        "nsf-coupling": ("genflow.baselines:CouplingNSF", "neural spline flow of couplings, one pass a sample (zuko)"),
        "realnvp": ("genflow.baselines:RealNVP", "affine couplings, one pass a sample (zuko)"),
        "naf": ("genflow.baselines:NAF", "neural autoregressive flow, inverted by bisection (zuko)"),
        "gaussian": ("genflow.baselines:Gaussian", "mean and covariance, in closed form"),
        "gaussian-mixture": (
            "genflow.baselines:GaussianMixture",
            "EM, its size chosen on validation rows (sklearn)",
        ),
        "kde": ("genflow.baselines:KernelDensity", "a kernel at every row, its bandwidth chosen on validation rows"),
        "copula": ("genflow.baselines:Copula", "smooth marginals, tied together by a Gaussian copula"),
    },
    "velocity": {
        "shallow": ("genflow.velocities:Shallow", "two hidden layers, divergence in closed form"),
        "parallel": ("genflow.velocities:Parallel", "shallow branches that add up, in closed form, too"),
        "mean": ("genflow.velocities:Mean", "the mean of several fields, such as an ensemble's members"),
        "residual-mlp": ("genflow.velocities:ResidualMLP", "residual network, tangents pushed by hand"),
        "potential-gradient": (
            "genflow.velocities:PotentialGradient",
            "no rotation, as in OT-Flow; the divergence a Laplacian in closed form",
        ),
        "hollow": ("genflow.velocities:Hollow", "each entry steered by all others, divergence in the same pass"),
        "unet": ("genflow.velocities:UNet", "pictures: convolutions and attention, tangents pushed by hand"),
        "chebyshev": (
            "genflow.velocities:Chebyshev",
            "graph filters, up to two layers in closed form",
        ),
        "graph-attention": ("genflow.velocities:GraphAttention", "attention over the neighbours in a graph"),
        "linear": ("genflow.velocities:Linear", "a matrix in time, such as the mean Jacobian of another field"),
        "flattened": ("genflow.velocities:Flattened", "a velocity on graphs, for rows of all nodes' features"),
        "chain": ("genflow.velocities:Chain", "pieces one after the other in time"),
        "probability-flow": ("genflow.velocities:ProbabilityFlow", "a diffusion's network as a velocity"),
        "guided": ("genflow.velocities:Guided", "classifier-free guidance of a conditional field"),
    },
    "divergence": {
        "exact": ("genflow.divergences:Exact", "the trace of the Jacobian"),
        "hutchinson": ("genflow.divergences:Hutchinson", "random probes, unbiased, with a standard error"),
        "hutch++": (
            "genflow.divergences:HutchPlusPlus",
            "the directions that matter exactly, random probes for the rest",
        ),
        "control-variate": (
            "genflow.divergences:ControlVariate",
            "an estimate of what a field of known divergence leaves",
        ),
        "finite-difference": ("genflow.divergences:FiniteDifference", "one further evaluation for each probe"),
    },
    "integrator": {
        "euler": ("genflow.solvers:Euler", "fixed steps, order 1"),
        "midpoint": ("genflow.solvers:Midpoint", "fixed steps, order 2"),
        "heun": ("genflow.solvers:Heun", "fixed steps, order 2"),
        "ralston": ("genflow.solvers:Ralston", "fixed steps, order 2, least error bound"),
        "rk4": ("genflow.solvers:RK4", "fixed steps, order 4"),
        "rk4-simpson": ("genflow.solvers:RK4Simpson", "RK4 with half of the divergences, at ends and middles"),
        "rk4-38": ("genflow.solvers:RK438", "fixed steps, order 4, the 3/8 rule"),
        "adams-bashforth": ("genflow.solvers:AdamsBashforth", "fixed steps, order 2 to 4, one evaluation a step"),
        "bogacki-shampine": ("genflow.solvers:BogackiShampine", "adaptive, order 3(2), per row if asked"),
        "dormand-prince": ("genflow.solvers:DormandPrince", "adaptive, order 5(4), per row if asked"),
        "tsitouras": ("genflow.solvers:Tsitouras", "adaptive, order 5(4), per row if asked"),
        "dop853": ("genflow.solvers:DOP853", "adaptive, order 8(5,3), per row if asked"),
        "adaptive": ("genflow.solvers:Adaptive", "torchdiffeq's methods, with or without the adjoint"),
        "ddim": ("genflow.solvers:DDIM", "diffusions, samples only: exponential Euler, order 1"),
        "dpm-solver": ("genflow.solvers:DPMSolver", "diffusions, samples only: DPM-Solver++(2M), order 2"),
        "ancestral": ("genflow.solvers:Ancestral", "diffusions, samples only: the sampler of DDPM"),
        "edm": ("genflow.solvers:EDMSampler", "diffusions, samples only: Karras's Heun, stochastic with churn"),
        "predictor-corrector": ("genflow.solvers:PredictorCorrector", "diffusions, samples only: Langevin corrected"),
        "euler-maruyama": ("genflow.solvers:EulerMaruyama", "stochastic equations, weak order 1"),
        "stochastic-heun": ("genflow.solvers:StochasticHeun", "stochastic equations, weak order 2 in additive noise"),
        "milstein": ("genflow.solvers:Milstein", "stochastic equations, strong order 1 (torchsde)"),
        "srk": ("genflow.solvers:SRK", "stochastic equations, strong order 3/2 (torchsde)"),
    },
    "scheduler": {
        "uniform": ("genflow.schedulers:Uniform", "equal steps"),
        "warped": ("genflow.schedulers:Warped", "steps that shrink towards one end by a power"),
        "equal-log-snr": ("genflow.schedulers:EqualLogSNR", "equal steps in the log signal-to-noise ratio"),
        "karras": ("genflow.schedulers:Karras", "equal steps in a power of the noise"),
        "jko-steps": ("genflow.schedulers:JKOSteps", "block boundaries, growing geometrically"),
        "variance-preserving": ("genflow.schedulers:VariancePreserving", "noise schedule of score-based diffusions"),
        "linear-interpolant": ("genflow.schedulers:LinearInterpolant", "noise schedule of flow matching"),
    },
    "metric": {
        "nll": ("genflow.metrics:mean_and_se", "test negative log-likelihood with its standard error"),
        "w2": ("genflow.metrics:wasserstein2", "exact 2-Wasserstein distance (POT)"),
        "mmd": ("genflow.metrics:mmd", "maximum mean discrepancy with its bootstrap threshold"),
        "c2st": ("genflow.metrics:c2st", "accuracy of a classifier that tells samples from data"),
        "inversion": ("genflow.metrics:inversion_error", "mean squared error of decode(encode(x))"),
    },
    "table metric": {
        "w1": ("genflow.metrics.tables:w1", "exact 1-Wasserstein distance, each column scaled by its range (POT)"),
        "shapes": ("genflow.metrics.tables:shapes", "how alike each column's law is"),
        "trends": ("genflow.metrics.tables:trends", "how alike any two columns go together"),
        "manifold": ("genflow.metrics.tables:manifold", "precision, recall, density and coverage"),
        "utility": ("genflow.metrics.tables:utility", "train on samples, test on rows, for a target column"),
        "privacy": ("genflow.metrics.tables:privacy", "whether samples are nearer to training rows than to others"),
    },
}

_FROM_FUNCTION = {
    "velocity": "genflow.velocities:as_velocity",
    "divergence": "genflow.divergences:as_divergence",
    "integrator": "genflow.solvers.function:as_integrator",
    "scheduler": "genflow.schedulers.function:as_scheduler",
}


@dataclass(frozen=True)
class Entry:
    """One registered name.

    Attributes:
        kind: One of `KINDS`.
        name: The name that people use.
        target: Where it lives, `module:Name`.
        summary: A few words on what it is.
        source: `genflow`, or the distribution that brings it.
    """

    kind: str
    name: str
    target: str
    summary: str = ""
    source: str = "genflow"

    def load(self) -> Any:
        """Imports the object."""
        return _import_target(self.target, self.kind, self.name)


def entries(kind: str) -> list[Entry]:
    """Everything registered under a kind: genflow's own first, then what installed packages add.

    Args:
        kind: One of `KINDS`.

    Example:
        >>> from genflow.naming import registry
        >>> registry.entries("divergence")[0].name
        'exact'
    """
    if kind not in _BUILT_IN:
        raise InputError(f"kind: {kind!r} came; one of {', '.join(KINDS)} would do")
    found = [Entry(kind, name, target, summary) for name, (target, summary) in _BUILT_IN[kind].items()]
    own = {entry.name for entry in found}
    for point in sorted(entry_points(group=_GROUPS[kind]), key=lambda point: point.name):
        if point.name not in own:  # a name of genflow's own can't be taken over
            own.add(point.name)
            source = point.dist.name if point.dist is not None else "entry point"
            found.append(Entry(kind, point.name, point.value, source=source))
    return found


def names(kind: str) -> list[str]:
    """The names registered under a kind.

    Example:
        >>> from genflow.naming import registry
        >>> registry.names("model")[:3]
        ['jko-iflow', 'jko-iflow-published', 'cnf']
    """
    return [entry.name for entry in entries(kind)]


def lookup(kind: str, name: str) -> Any:
    """The class or function that goes by a name.

    Args:
        kind: One of `KINDS`.
        name: A registered name, `module:Name`, or `file.py:Name`.

    Raises:
        InputError: Nothing goes by that name; near ones are suggested.

    Example:
        >>> from genflow.naming import registry
        >>> registry.lookup("divergence", "exact").__name__
        'Exact'
    """
    registered = {entry.name: entry for entry in entries(kind)}
    if name in registered:
        return registered[name].load()
    if ":" in name:
        return _import_target(name, kind, name)
    folded = {_fold(known): known for known in registered}
    if _fold(name) in folded:  # jko_iflow, JKOiFlow
        return registered[folded[_fold(name)]].load()
    near = [folded[match] for match in difflib.get_close_matches(_fold(name), folded, n=2, cutoff=0.5)]
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise InputError(f"{kind}: no {name!r}; {hint}known: {', '.join(registered)}, or your own as module:Name")


def name_of(cls: Any) -> str:
    """The name that a class goes by: the registered one, otherwise `module:Name`, or `file.py:Name` if so it was named.

    Example:
        >>> from genflow import divergences
        >>> from genflow.naming import registry
        >>> registry.name_of(divergences.Exact)
        'exact'
    """
    for kind in KINDS:
        for entry in entries(kind):
            module, _, attribute = entry.target.partition(":")
            # A package re-exports what its modules define: compare the objects, without importing anything new.
            if module in sys.modules and getattr(sys.modules[module], attribute, None) is cls:
                return entry.name
    return f"{name_of_module(cls.__module__)}:{cls.__qualname__}"


def from_function(kind: str) -> Any:
    """What makes a part of this kind of a plain function; `None` where nothing does.

    Example:
        >>> from genflow.naming import registry
        >>> registry.from_function("velocity").__name__
        'as_velocity'
    """
    return _import_target(_FROM_FUNCTION[kind], kind, kind) if kind in _FROM_FUNCTION else None


def _fold(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _import_target(target: str, kind: str, name: str) -> Any:
    module, _, attribute = target.rpartition(":")
    if not module or not attribute:
        raise InputError(f"{kind}: {name!r} came; a module and a name in it, such as my_flows:MyFlow, would do")
    try:
        found: Any = import_own_module(module)
    except Exception as error:  # a module of the user's own may fail in any way
        raise InputError(f"{kind}: {name!r} can't be imported ({type(error).__name__}: {error})") from error
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise InputError(f"{kind}: {module!r} has no {attribute!r}") from None
    if not callable(found) and not hasattr(found, "config"):  # a component that was made there is welcome, too
        raise InputError(f"{kind}: {name!r} is a {type(found).__name__}; a class or a function would do")
    return found
