r"""The coefficients of explicit Runge–Kutta methods.

.. math::
    k_i = f\Bigl(t_n + c_i h, \; y_n + h \sum_{j < i} a_{ij} k_j\Bigr), \qquad
    y_{n+1} = y_n + h \sum_i b_i k_i, \qquad e_{n+1} = h \sum_i e_i k_i

An embedded pair has the weights :math:`e_i = b_i - \hat b_i` of an error estimate, too. Those here are arranged so that
the last stage stands at the new point, :math:`a_{sj} = b_j`: it is the first stage of the next step, and costs nothing
there ("first same as last").

E. Hairer, S. Nørsett, G. Wanner, Solving Ordinary Differential Equations I, https://doi.org/10.1007/978-3-540-78862-1
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = [
    "BOGACKI_SHAMPINE",
    "DOP853",
    "DORMAND_PRINCE",
    "EULER",
    "HEUN",
    "MIDPOINT",
    "RALSTON",
    "RK4",
    "RK4_38",
    "TSITOURAS",
    "Tableau",
]


@dataclass(frozen=True)
class Tableau:
    r"""Coefficients of one method; see the formulas above.

    Attributes:
        a: Rows :math:`a_{ij}`, :math:`j < i`.
        b: Weights :math:`b_i`.
        c: Nodes :math:`c_i`.
        errors: Weights :math:`e_i` of one error estimate, or of two that are combined.
        error_order: Order :math:`q` of the estimate: it falls as :math:`h^{q+1}`.

    Example:
        >>> from genflow.solvers.tableaus import Tableau
        >>> Tableau(a=((), (1.0,)), b=(0.5, 0.5), c=(0.0, 1.0)).rows  # Heun's, without the zeros
        ((0.0, ()), (1.0, ((0, 1.0),)))
    """

    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    c: tuple[float, ...]
    errors: tuple[tuple[float, ...], ...] = ()
    error_order: int = 0
    rows: tuple[tuple[float, tuple[tuple[int, float], ...]], ...] = field(init=False, repr=False)
    weights: tuple[tuple[int, float], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", tuple((c, _nonzero(row)) for c, row in zip(self.c, self.a, strict=True)))
        object.__setattr__(self, "weights", _nonzero(self.b))


def _nonzero(coefficients: tuple[float, ...]) -> tuple[tuple[int, float], ...]:
    return tuple((i, value) for i, value in enumerate(coefficients) if value)


def _first_same_as_last(
    a: tuple[tuple[float, ...], ...],
    c: tuple[float, ...],
    errors: tuple[tuple[float, ...], ...],
    error_order: int,
) -> Tableau:
    """An embedded pair whose last stage stands at the new point: its weights are the last row."""
    return Tableau(a, (*a[-1], 0.0), c, errors, error_order)


EULER = Tableau(a=((),), b=(1.0,), c=(0.0,))

MIDPOINT = Tableau(a=((), (1 / 2,)), b=(0.0, 1.0), c=(0.0, 1 / 2))

HEUN = Tableau(a=((), (1.0,)), b=(1 / 2, 1 / 2), c=(0.0, 1.0))

# Ralston 1962, https://doi.org/10.1090/S0025-5718-1962-0150954-0
RALSTON = Tableau(a=((), (2 / 3,)), b=(1 / 4, 3 / 4), c=(0.0, 2 / 3))

# Kutta 1901: the classical method and his 3/8 rule.
RK4 = Tableau(
    a=((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)),
    b=(1 / 6, 1 / 3, 1 / 3, 1 / 6),
    c=(0.0, 1 / 2, 1 / 2, 1.0),
)

RK4_38 = Tableau(
    a=((), (1 / 3,), (-1 / 3, 1.0), (1.0, -1.0, 1.0)),
    b=(1 / 8, 3 / 8, 3 / 8, 1 / 8),
    c=(0.0, 1 / 3, 2 / 3, 1.0),
)

# Bogacki, Shampine 1989, https://doi.org/10.1016/0893-9659(89)90079-7
BOGACKI_SHAMPINE = _first_same_as_last(
    a=((), (1 / 2,), (0.0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)),
    c=(0.0, 1 / 2, 3 / 4, 1.0),
    errors=((2 / 9 - 7 / 24, 1 / 3 - 1 / 4, 4 / 9 - 1 / 3, -1 / 8),),
    error_order=2,
)

# Dormand, Prince 1980, https://doi.org/10.1016/0771-050X(80)90013-3
DORMAND_PRINCE = _first_same_as_last(
    a=(
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    ),
    c=(0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0),
    errors=((71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40),),
    error_order=4,
)

# Tsitouras 2011, https://doi.org/10.1016/j.camwa.2011.06.002
TSITOURAS = _first_same_as_last(
    a=(
        (),
        (0.161,),
        (-0.008480655492356989, 0.335480655492357),
        (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
        (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
        (5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401, -0.028269050394068383),
        (0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742, -3.2900695154360807, 2.324710524099774),
    ),
    c=(0.0, 0.161, 0.327, 0.9, 0.9800255409045097, 1.0, 1.0),
    errors=(
        (
            0.0017800110522257773,
            0.0008164344596567463,
            -0.007880878010261994,
            0.1447110071732629,
            -0.5823571654525552,
            0.45808210592918686,
            -1 / 66,
        ),
    ),
    error_order=4,
)

# Dormand, Prince's order 8 with estimates of the orders 5 and 3, by Hairer, Nørsett, Wanner (DOP853, II.10 of the book;
# the numbers are those of https://www.unige.ch/~hairer/software.html).
DOP853 = _first_same_as_last(
    a=(
        (),
        (0.05260015195876773,),
        (
            0.0197250569845379,
            0.0591751709536137,
        ),
        (
            0.02958758547680685,
            0.0,
            0.08876275643042054,
        ),
        (
            0.2413651341592667,
            0.0,
            -0.8845494793282861,
            0.924834003261792,
        ),
        (
            0.037037037037037035,
            0.0,
            0.0,
            0.17082860872947386,
            0.12546768756682242,
        ),
        (
            0.037109375,
            0.0,
            0.0,
            0.17025221101954405,
            0.06021653898045596,
            -0.017578125,
        ),
        (
            0.03709200011850479,
            0.0,
            0.0,
            0.17038392571223998,
            0.10726203044637328,
            -0.015319437748624402,
            0.008273789163814023,
        ),
        (
            0.6241109587160757,
            0.0,
            0.0,
            -3.3608926294469414,
            -0.868219346841726,
            27.59209969944671,
            20.154067550477894,
            -43.48988418106996,
        ),
        (
            0.47766253643826434,
            0.0,
            0.0,
            -2.4881146199716677,
            -0.590290826836843,
            21.230051448181193,
            15.279233632882423,
            -33.28821096898486,
            -0.020331201708508627,
        ),
        (
            -0.9371424300859873,
            0.0,
            0.0,
            5.186372428844064,
            1.0914373489967295,
            -8.149787010746927,
            -18.52006565999696,
            22.739487099350505,
            2.4936055526796523,
            -3.0467644718982196,
        ),
        (
            2.273310147516538,
            0.0,
            0.0,
            -10.53449546673725,
            -2.0008720582248625,
            -17.9589318631188,
            27.94888452941996,
            -2.8589982771350235,
            -8.87285693353063,
            12.360567175794303,
            0.6433927460157636,
        ),
        (
            0.054293734116568765,
            0.0,
            0.0,
            0.0,
            0.0,
            4.450312892752409,
            1.8915178993145003,
            -5.801203960010585,
            0.3111643669578199,
            -0.1521609496625161,
            0.20136540080403034,
            0.04471061572777259,
        ),
    ),
    c=(
        0.0,
        0.05260015195876773,
        0.0789002279381516,
        0.1183503419072274,
        0.2816496580927726,
        0.3333333333333333,
        0.25,
        0.3076923076923077,
        0.6512820512820513,
        0.6,
        0.8571428571428571,
        1.0,
        1.0,
    ),
    errors=(
        (
            0.01312004499419488,
            0.0,
            0.0,
            0.0,
            0.0,
            -1.2251564463762044,
            -0.4957589496572502,
            1.6643771824549864,
            -0.35032884874997366,
            0.3341791187130175,
            0.08192320648511571,
            -0.022355307863886294,
            0.0,
        ),
        (
            -0.18980075407240762,
            0.0,
            0.0,
            0.0,
            0.0,
            4.450312892752409,
            1.8915178993145003,
            -5.801203960010585,
            -0.4226823213237919,
            -0.1521609496625161,
            0.20136540080403034,
            0.02265179219836082,
            0.0,
        ),
    ),
    error_order=7,
)
