"""Models as estimators of scikit-learn: in a `Pipeline`, `GridSearchCV`, `cross_val_score`.

scikit-learn itself is looked for only when it asks an estimator about itself.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from ..utils.generic_utils import nearest_name
from ..utils.np_utils import to_categorical


def _sequential() -> Any:
    # Imported when it is needed: the engine is much larger than this module.
    from ..models import Sequential

    return Sequential


def _argument_names(fn: Callable[..., Any]) -> list[str]:
    """Return the names of a function's arguments, without `self` and variadic ones."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(fn).parameters.values()
    names = [p.name for p in parameters if p.kind in kinds and p.name != "self"]
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        names += _inherited_names(fn)
    return names


def _inherited_names(fn: Callable[..., Any]) -> list[str]:
    """Return what a method of the model passes on to the one that it overrides."""
    classes = _sequential().__mro__
    name = getattr(fn, "__name__", "")
    for cls, later in zip(classes, range(1, len(classes)), strict=False):
        if cls.__dict__.get(name) is fn:
            base = next((c.__dict__[name] for c in classes[later:] if name in c.__dict__), None)
            return [] if base is None else _argument_names(base)
    return []


class BaseWrapper:
    """What the classifier and the regressor have in common.

    The parameters of the estimator are the arguments of `build_fn`, which returns a compiled model,
    and those of the model's `fit`, `predict` and `evaluate`. What is passed to a method goes before
    what was passed to the constructor.
    """

    def __init__(self, build_fn: Callable[..., Any] | None = None, **sk_params: Any) -> None:
        """Take the function that builds the model, and parameters.

        Args:
            build_fn: a function, or an object that can be called, that returns a compiled model.
                Without it the subclass's own `__call__` builds the model.
            **sk_params: parameters of the model and of its methods.

        Raises:
            ValueError: for a parameter that none of them takes.
        """
        self.build_fn = build_fn
        self.sk_params = sk_params
        self.check_params(sk_params)

    def _builder(self) -> Callable[..., Any]:
        if self.build_fn is not None:
            return self.build_fn
        if not callable(self):
            raise ValueError(
                f"{type(self).__name__} needs a build_fn, or a subclass that defines __call__, to "
                "build its model"
            )
        return self.__call__

    def check_params(self, params: dict[str, Any]) -> None:
        """Raise an error for parameters that are unknown.

        Args:
            params: the parameters.

        Raises:
            ValueError: when neither the builder nor a method of the model takes one of them.
        """
        sequential = _sequential()
        legal = {"nb_epoch", *_argument_names(self._builder())}
        for method in ("fit", "predict", "predict_classes", "evaluate"):
            legal.update(_argument_names(getattr(sequential, method)))
        for name in params:
            if name not in legal:
                meant = nearest_name(name, legal)
                hint = f" Did you mean {meant!r}?" if meant else ""
                raise ValueError(f"{name} is not a legal parameter.{hint}")

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, with `build_fn`.

        Args:
            deep: accepted as scikit-learn has it, and ignored.
        """
        # The very objects, not copies: `sklearn.clone` checks that they are the ones it passed.
        return {**self.sk_params, "build_fn": self.build_fn}

    def set_params(self, **params: Any) -> BaseWrapper:
        """Set parameters.

        Args:
            **params: their values.

        Returns:
            The estimator itself.
        """
        if "build_fn" in params:
            self.build_fn = params.pop("build_fn")
        self.check_params(params)
        self.sk_params.update(params)
        return self

    def fit(self, x: Any, y: Any, **kwargs: Any) -> Any:
        """Build a new model and train it.

        Args:
            x: samples, of shape (samples, features).
            y: targets, of shape (samples,) or (samples, outputs).
            **kwargs: arguments of the model's `fit`.

        Returns:
            The `History` of the training.
        """
        builder = self._builder()
        self.model = builder(**self.filter_sk_params(builder))
        arguments = copy.deepcopy(self.filter_sk_params(_sequential().fit))
        if "nb_epoch" in self.sk_params:
            arguments.setdefault("epochs", self.sk_params["nb_epoch"])
        arguments.update(kwargs)
        self.history_ = self.model.fit(x, self._targets(y), **arguments)
        return self.history_

    def _targets(self, y: Any) -> Any:
        """Turn class numbers into rows where the loss wants rows."""
        loss = getattr(self.model.loss, "__name__", self.model.loss)
        if loss == "categorical_crossentropy" and np.ndim(y) != 2:
            return to_categorical(y)
        return y

    def filter_sk_params(
        self, fn: Callable[..., Any], override: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Return the parameters that a function takes.

        Args:
            fn: the function.
            override: values that go before the estimator's own.
        """
        names = _argument_names(fn)
        own = {name: value for name, value in self.sk_params.items() if name in names}
        return {**own, **(override or {})}

    def _fitted_model(self) -> Any:
        if hasattr(self, "model"):
            return self.model
        message = f"This {type(self).__name__} is not fitted yet: call fit() first"
        try:
            from sklearn.exceptions import NotFittedError
        except ImportError:
            raise ValueError(message) from None
        raise NotFittedError(message)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model")

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn what kind of estimator this is."""
        from sklearn.utils import Tags, TargetTags

        return Tags(
            estimator_type=self._estimator_type,
            target_tags=TargetTags(required=True),
            **self._kind_tags(),
        )

    _estimator_type: str | None = None

    def _kind_tags(self) -> dict[str, Any]:
        return {}


class KerasClassifier(BaseWrapper):
    """A model as a classifier.

    Attributes:
        classes_: the classes, sorted.
        n_classes_: their number.
        model: the model, once `fit` has built it.
        history_: the history of its training.
    """

    _estimator_type = "classifier"

    def _kind_tags(self) -> dict[str, Any]:
        from sklearn.utils import ClassifierTags

        return {"classifier_tags": ClassifierTags()}

    def fit(self, x: Any, y: Any, **kwargs: Any) -> Any:
        """Build a new model and train it.

        Args:
            x: samples, of shape (samples, features).
            y: classes, of shape (samples,) or (samples, 1), or rows with a single one.
            **kwargs: arguments of the model's `fit`.

        Returns:
            The `History` of the training.

        Raises:
            ValueError: for targets of another shape.
        """
        y = np.asarray(y)
        if y.ndim == 2 and y.shape[1] > 1:
            self.classes_ = np.arange(y.shape[1])
        elif y.ndim == 1 or (y.ndim == 2 and y.shape[1] == 1):
            self.classes_ = np.unique(y)
            y = np.searchsorted(self.classes_, y)
        else:
            raise ValueError(f"Invalid shape for y: {y.shape}")
        self.n_classes_ = len(self.classes_)
        return super().fit(x, y, **kwargs)

    def predict(self, x: Any, **kwargs: Any) -> np.ndarray:
        """Return the class of each sample.

        Args:
            x: samples, of shape (samples, features).
            **kwargs: arguments of the model's `predict_classes`.

        Returns:
            An array of shape (samples,).
        """
        arguments = self.filter_sk_params(_sequential().predict_classes, kwargs)
        numbers = np.asarray(self._fitted_model().predict_classes(x, **arguments))
        return self.classes_[numbers.reshape(-1)]

    def predict_proba(self, x: Any, **kwargs: Any) -> np.ndarray:
        """Return the probability of each class.

        Args:
            x: samples, of shape (samples, features).
            **kwargs: arguments of the model's `predict_proba`.

        Returns:
            An array of shape (samples, classes); a model with one output gives two columns.
        """
        arguments = self.filter_sk_params(_sequential().predict_proba, kwargs)
        found = self._fitted_model().predict_proba(x, **arguments)
        return np.hstack([1 - found, found]) if found.shape[1] == 1 else found

    def score(self, x: Any, y: Any, **kwargs: Any) -> float:
        """Return the mean accuracy.

        Args:
            x: samples, of shape (samples, features).
            y: classes, of shape (samples,), or rows with a single one.
            **kwargs: arguments of the model's `evaluate`.

        Raises:
            ValueError: when the model was compiled without `metrics=['accuracy']`.
        """
        model = self._fitted_model()
        y = np.asarray(y)
        if y.ndim < 2 or y.shape[1] == 1:
            y = np.searchsorted(self.classes_, y)
        arguments = self.filter_sk_params(_sequential().evaluate, kwargs)
        outputs = model.evaluate(x, self._targets(y), **arguments)
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        for name, output in zip(model.metrics_names, outputs, strict=False):
            if name in ("acc", "accuracy"):
                return output
        raise ValueError(
            "The model is not configured to compute accuracy. You should pass "
            '`metrics=["accuracy"]` to the `model.compile()` method.'
        )


class KerasRegressor(BaseWrapper):
    """A model as a regressor.

    Attributes:
        model: the model, once `fit` has built it.
        history_: the history of its training.
    """

    _estimator_type = "regressor"

    def _kind_tags(self) -> dict[str, Any]:
        from sklearn.utils import RegressorTags

        return {"regressor_tags": RegressorTags()}

    def predict(self, x: Any, **kwargs: Any) -> np.ndarray:
        """Return the prediction for each sample.

        Args:
            x: samples, of shape (samples, features).
            **kwargs: arguments of the model's `predict`.

        Returns:
            An array of shape (samples,) or (samples, outputs).
        """
        arguments = self.filter_sk_params(_sequential().predict, kwargs)
        found = self._fitted_model().predict(x, **arguments)
        return found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else np.squeeze(found)

    def score(self, x: Any, y: Any, **kwargs: Any) -> float:
        """Return the mean loss, as in Keras 2.0: lower is better.

        scikit-learn takes a higher score for a better one. To search for parameters, name a scoring
        of scikit-learn's: `GridSearchCV(..., scoring='neg_mean_squared_error')`.

        Args:
            x: samples, of shape (samples, features).
            y: targets, of shape (samples,) or (samples, outputs).
            **kwargs: arguments of the model's `evaluate`.
        """
        arguments = self.filter_sk_params(_sequential().evaluate, kwargs)
        loss = self._fitted_model().evaluate(x, y, **arguments)
        return loss[0] if isinstance(loss, (list, tuple)) else loss
