"""What every model of a comparison can do: densities, samples, and a training in stages."""

from __future__ import annotations

import copy
import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from genflow.assembly import Density
from genflow.errors import InputError
from genflow.fitted import Transformed
from genflow.fitting import budget_of, fit, warn
from genflow.imputation import Masked
from genflow.interfaces import in_words
from genflow.naming import registry
from genflow.naming.search import Space
from genflow.refitting import refit as refit_on_all
from genflow.settling import Settled
from genflow.training import Budget, Progress, Stage, Tracker, TrainingData
from genflow.training.replay import Recipe
from genflow.training.warming import warm_up

if TYPE_CHECKING:
    from typing import Self

    from genflow.data import Dataset, Preprocessor
    from genflow.data.laws import CelledLine

__all__ = ["GenerativeModel", "builder"]

_INFERENCE = (
    "log_prob", "sample", "sample_with_log_prob", "encode", "decode", "trajectory", "score", "audit", "latent_log_prob",
    "save",
)  # fmt: skip


class GenerativeModel(Density, ABC):
    """A density with samples, which says in stages how it is trained.

    What else it may offer is declared by `genflow.assembly.Density`.

    Continuous models inherit the first two from `Flow`; a discrete flow writes its own.

    Attributes:
        whiten: How far `fit` takes correlations out of the rows that it hands it, on top of the data set's own
            preprocessing: from 0, not at all, to 1, wholly; see `genflow.data.Whiten`.
        autocasts: Whether its training holds under bfloat16 autocast: a regression does, a log-determinant does not.
        stepped: Whether it is trained by optimizer steps.
        settles: Whether `settle` has something to do, so that a training leaves it its time.
        varies: Whether each copy of a row that it is trained on is another, by `varied(z, condition, generator)`.
        search: The few of its arguments that matter most, each with the range that `genflow compare --trials` tries.
    """

    whiten: float = False
    dim: int
    condition_dim: int = 0
    autocasts: bool = False
    stepped: bool = True
    settles: bool = True
    varies: bool = False
    search: ClassVar[Space] = {}

    def __init__(self) -> None:
        super().__init__()
        # Takes the dtype and the device that the model is moved to, also before it has a parameter.
        self.register_buffer("_like", torch.empty(0), persistent=False)

    @abstractmethod
    def next_stage(self, data: TrainingData, history: list[dict[str, Any]]) -> Stage | None:
        """The next stage of training, or `None` at the end.

        A function of the model's state, the data and the history alone, so that a resumed training takes the same road.
        """

    def preprocessing(self, data: Dataset) -> Preprocessor:
        """The units that `fit` trains it in: the data set's own, whitened as far as `whiten` says and rows support."""
        from genflow.data import Compose, Whiten
        from genflow.data.shrinkage import shrinkage

        if not self.whiten:
            return data.preprocessor
        rows = data.preprocessor.spread(data.train, torch.Generator().manual_seed(0))[0]
        share = shrinkage(rows)
        power, columns = self._whitening(rows, share, data.preprocessor.celled_lines())
        if not columns.all():
            share = shrinkage(rows[:, columns]) if columns.any() else 1.0
        if share == 1:
            return data.preprocessor
        part = None if columns.all() else columns
        return Compose([data.preprocessor, Whiten.fit(rows, share, power=power, columns=part)])

    def _whitening(
        self, rows: Float[Tensor, "n d"], share: float, lines: Sequence[CelledLine] | None
    ) -> tuple[float, Bool[Tensor, " d"]]:
        """How far rows are whitened, and which of their columns.

        Args:
            rows: The rows, in the data set's own units.
            share: The share by which their correlations are shrunk.
            lines: The cells of each column.
        """
        return float(self.whiten), torch.ones(rows.shape[-1], dtype=torch.bool)

    def guided(self, weight: float) -> Self:
        """The same model under classifier-free guidance; see `Flow.guided`.

        Raises:
            InputError: A model without a velocity to guide.
        """
        raise InputError(f"guidance: {type(self).__name__} has no velocity to guide; leave it out")

    def stages_behind(self, history: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Of an ended training's history, what stays behind a model that goes on from its weights.

        All but the last kind of stage: that one is trained again, from where it ended.

        Args:
            history: The history of the training that made it.
        """
        kinds = [entry.get("kind", entry["stage"]) for entry in history]
        kept = len(kinds)
        while kept and kinds[kept - 1] == kinds[-1]:
            kept -= 1
        return history[:kept]

    def settle(self, x: Float[Tensor, "*shape"], condition: Any = None) -> Settled | None:
        """After training: makes sure, on validation rows, that log p is what it says. A flow chooses its grid.

        On a clock it runs within a `genflow.deadline.deadline`, and leaves a model that can be used whenever that ends.

        Returns:
            log p of the rows and what remains undone; `None` where there is nothing to say.
        """
        return None

    def calibrate(self, x: Float[Tensor, "*shape"], condition: Any = None) -> None:
        """After training, before it is settled: estimates what is to be told from rows that it has not learned from.

        Args:
            x: Validation rows, `(n, *event)`, as many as there is time for.
            condition: The condition of each.
        """

    def calibrate_like(self, other: Self) -> None:
        """Takes over what another training of the model has estimated so, where this one has learned from those rows.

        Args:
            other: The model of the other training.
        """

    def remark_on(self, x: Float[Tensor, "*shape"], rows: str = "rows") -> str | None:
        """What a reader of the log densities of these rows should know, in one line; `None` where there is nothing.

        Args:
            x: Rows, `(n, *event)`.
            rows: What they are called, such as `test rows`.
        """
        return None

    def fit(
        self,
        data: Any,
        *,
        budget: str | float | Budget | None = None,
        iterations: int | None = None,
        evaluations: int | None = None,
        seed: int = 0,
        progress: Progress | bool | None = None,
        checkpoint: str | PathLike[str] | None = None,
        autocast: bool = False,
        masks: bool = False,
        refit: bool = False,
        tracker: Tracker | None = None,
    ) -> Transformed:
        """Trains a copy on a data set and returns it in the data's own units; this model stays as it is.

        It trains on the device that the model is on: `model.to("cuda").fit(…)`.

        Another `fit` begins anew. To go on from the weights of a fitted model: `fitted.fit(…, warm_start=True)`.

        Args:
            data: A `Dataset`, or anything that `genflow.data.load` takes: a name, a path, an array.
            budget: Wall time of the training, such as `"60s"`, `"2min"` or a number of seconds; or a `Budget`.
            iterations: Optimizer steps instead of a time.
            evaluations: Evaluations of the network instead, one for each row and point in time, in the losses of all
                steps; see `genflow.training.Budget`.
            seed: Seed of everything random in the training.
            progress: `True` for a line on standard error; or a function that is called now and then with where it
                stands, see `genflow.training.Progress`.
            checkpoint: A folder that the state is kept in; a training that was cut off goes on from there.
            autocast: Whether to compute the losses in bfloat16 where torch's autocast does, for models that are trained
                by regression; weights, validation and log densities keep their precision. Worth it on graphics cards.
            masks: Whether to train it on rows of which random entries are seen, so that `Transformed.impute` draws the
                others at once; see `genflow.imputation.Masked`. Its condition then has two entries more for each
                column: `condition_dim=data.condition_dim + 2 * data.dim`.
            refit: Whether to train twice, with half of the budget each: the second time on the validation rows, too,
                for as many steps as were best the first time. For few rows, of which each counts; see
                `genflow.refitting`.
            tracker: A run of an experiment tracker, such as `genflow.training.TensorBoard`: it is told what the
                training was given, how it goes, and what came of it.

        Raises:
            InputError: Several limits; data that can't be read; weights in half precision; autocast for a
                model that is trained on log densities; masks for a model with another condition.

        Warns:
            Remark: What a reader of its figures should know, such as very few steps.

        Example:
            >>> import genflow as gf
            >>> model = gf.models.FlowMatching(2).fit("two-moons", iterations=20)
            >>> model.sample(3).shape
            torch.Size([3, 2])
        """
        from genflow.data import load

        limit = budget_of(budget, iterations, evaluations)
        dataset = load(data)
        settings = {"seed": seed, "progress": progress, "autocast": autocast, "tracker": tracker}
        train = partial(self._train, masks, settings)
        fitted = refit_on_all(train, dataset, limit, checkpoint) if refit else train(dataset, limit, checkpoint)
        self._refuse_inference()
        warn(fitted.remarks)
        return fitted

    def _train(
        self,
        masks: bool,
        settings: Mapping[str, Any],
        data: Dataset,
        limit: Budget,
        checkpoint: str | PathLike[str] | None,
        again: Mapping[str, Recipe] | None = None,
    ) -> Transformed:
        """One training of a copy: what `fit` was told, with these data, within this budget, by these recipes."""
        model: Any = Masked(self._unfitted_copy()) if masks else self._unfitted_copy()
        if limit.timed and model.stepped:
            warm_up()
        limit.start()
        preprocessor = model.preprocessing(data)
        given = data.condition
        encoding = None if given is None else given.encoding
        # A tracker is told of the training whose figures are kept.
        told = settings if again is None else {**settings, "tracker": None}
        done = fit(model, data, preprocessor, encoding, limit, checkpoint=checkpoint, again=again, **told)
        fitted = Transformed(
            model, preprocessor, data.columns, done.history, encoding, done.remarks, done.record, data.schema
        )
        fitted.hold_out(data.validation, None if given is None else given.validation)
        return fitted

    def _unfitted_copy(self) -> Self:
        """A copy to train: this one stays as it is, and a second training begins where the first did."""
        with torch.inference_mode(False):  # a copy made within can't be trained
            model = copy.deepcopy(self)
        for name in _INFERENCE:
            model.__dict__.pop(name, None)
        return model

    def _refuse_inference(self) -> None:
        """From now on, says that `fit` returned the model that is wanted."""
        for name in _INFERENCE:
            if hasattr(self, name):
                self.__dict__[name] = partial(_not_fitted, type(self).__name__)


def _not_fitted(name: str, *arguments: Any, **options: Any) -> None:
    raise InputError(f"{name}: this model is not fitted, fit returned the one that is; fitted = model.fit(…) would do")


def builder(given: Any, argument: str = "model") -> Any:
    """What builds models of a kind: a class, or a function that returns one.

    Args:
        given: That itself, its name as in `genflow list`, or `module:Name`.
        argument: What the argument is called.

    Raises:
        InputError: An unknown name; a model that is built already; something else.

    Example:
        >>> import genflow as gf
        >>> from genflow.model import builder
        >>> builder("nsf") is builder(gf.baselines.NSF)
        True
        >>> builder(gf.baselines.NSF(3))
        Traceback (most recent call last):
        genflow.errors.InputError: model: a NSF came, which is built already; its class NSF, which is built and ...
    """
    found = registry.lookup("model", given) if isinstance(given, str) else given
    if isinstance(found, type) or inspect.isroutine(found):
        return found
    if isinstance(found, Density | Transformed):
        # What `fit` returns, and a model that fills gaps, have another inside.
        kind = type(getattr(found, "model", found)).__name__
        raise InputError(
            f"{argument}: {in_words(found)} came, which is built already; its class {kind}, which is built and trained "
            "anew, would do, or a function (dim, **options) that builds one"
        )
    raise InputError(
        f"{argument}: {in_words(found)} came; a name, module:Name, a class or a function (dim, **options) that builds "
        "a model would do"
    )
