r"""Docstrings as a terminal shows them: formulas in letters, and nothing that only makes sense beside the code."""

from __future__ import annotations

import re

__all__ = ["plain"]

_LETTERS = {
    "alpha": "α",
    "beta": "β",
    "gamma": "γ",
    "delta": "δ",
    "varepsilon": "ε",
    "epsilon": "ε",
    "eta": "η",
    "lambda": "λ",
    "mu": "μ",
    "rho": "ρ",
    "sigma": "σ",
    "tau": "τ",
    "phi": "φ",
    "Phi": "Φ",
    "Sigma": "Σ",
    "nabla": "∇",
    "int": "∫",
    "sum": "Σ",
    "sqrt": "√",
    "top": "ᵀ",
    "infty": "∞",
    "cdot": "·",
    "times": "×",
    "dots": "…",
    "le": "≤",
    "ge": "≥",
    "in": "∈",
    "to": "→",
    "pm": "±",
    "approx": "≈",
}


def plain(text: str) -> str:
    r"""A docstring's text without markup.

    Example:
        >>> plain(r"Weight :math:`\lambda_K` of `x`, :math:`\frac{1}{2} |x_{min}|^2`. See the formulas above.")
        'Weight λ_K of x, 1/2 |x_(min)|^2.'
    """
    text = re.sub(r"[.;] [Ss]ee (the formulas? )?above\.", ".", " ".join(text.split()))
    text = re.sub(r":math:`([^`]*)`", lambda found: _formula(found[1]), text)
    return text.replace("`", "")


def _formula(tex: str) -> str:
    """A formula in letters."""
    tex = re.sub(r"\\frac\{([^{}]*)\}\{([^{}]*)\}", r"\1/\2", tex)
    tex = re.sub(r"\\(?:operatorname|mathrm|text)\{([^{}]*)\}", r"\1", tex)
    tex = re.sub(r"\\([A-Za-z]+)", lambda found: _LETTERS.get(found[1], found[1]), tex)
    tex = re.sub(r"\\[,;:! ]", " ", tex).replace("\\", "")
    tex = re.sub(r"\{([^{}]*)\}", lambda found: found[1] if len(found[1]) == 1 else f"({found[1]})", tex)
    return " ".join(tex.split())
