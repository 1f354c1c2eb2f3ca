"""scikit-learn's base classes where it is installed, else as much of them as `TextClassifier` needs."""

from importlib.util import find_spec
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING or find_spec("sklearn") is None:

    class NotFittedError(ValueError, AttributeError):
        """An estimator is used before it has been fitted."""

    class DataConversionWarning(UserWarning):
        """Data are read as something else than they are."""

    class ClassifierMixin:
        """What classifiers have besides."""

        def score(self, X: Any, y: Any) -> float:
            """The share of texts whose label is predicted, 0 to 1."""
            predicted: Any = self.predict(X)  # type: ignore[attr-defined]
            return float((predicted == y).mean())

    class BaseEstimator:
        """Parameters by the names in the signature of `__init__`."""

        def get_params(self, deep: bool = True) -> dict[str, Any]:
            """All parameters by name."""
            parameters = list(signature(type(self).__init__).parameters.values())[1:]
            return {one.name: getattr(self, one.name) for one in parameters if one.kind != Parameter.VAR_KEYWORD}

        def set_params(self, **parameters: Any) -> Self:
            """Change parameters.

            Raises:
                ValueError: There is no such parameter.
            """
            for name in parameters:
                if name not in self.get_params():
                    raise ValueError(f"Invalid parameter {name!r} for estimator {type(self).__name__}")
            vars(self).update(parameters)
            return self

else:
    from sklearn.base import BaseEstimator as BaseEstimator
    from sklearn.base import ClassifierMixin as ClassifierMixin
    from sklearn.exceptions import DataConversionWarning as DataConversionWarning
    from sklearn.exceptions import NotFittedError as NotFittedError
