"""One model of each family, for tests that all models share.

What a preset sets apart from the others of its family is a number or a part: a path, a weighting, a grid of times, the
bijection of a discrete flow. Each of the built-in models keeps the promises of `genflow.testing.check_model`
(test_testing.py) and ends at its budget (test_budget.py). Where a test asks for what the code of a family does, one
member stands for all:

- `jko-iflow`: stages that grow a chain, block by block, and one for the whole;
- `cnf`: a velocity trained by its likelihood (ffjord, rnode, ot-flow);
- `flow-matching`: a velocity trained by regression (ot-cfm, sb-cfm, vp-cfm, lipman-cfm, interpolant, logit-normal);
- `score-sde`: a denoiser behind the probability flow (edm, ddpm, v-diffusion, vdm, …);
- `rectified-flow`: regression in several stages, on pairs of the model's own (mean-flow);
- `nsf`: a discrete flow (maf, realnvp, naf, nsf-coupling);
- `latent`: a model of the code of an autoencoder;
- `gaussian-mixture`: candidates without a gradient (gaussian, kde, copula).
"""

from __future__ import annotations

__all__ = ["FAMILIES"]

FAMILIES = ("jko-iflow", "cnf", "flow-matching", "score-sde", "rectified-flow", "nsf", "latent", "gaussian-mixture")
