"""Models as scikit-learn estimators, trained by the real engine."""

import numpy as np
import pytest

from hornbeam.layers import Dense
from hornbeam.models import Sequential
from hornbeam.optimizers import SGD, Adam
from hornbeam.wrappers.scikit_learn import BaseWrapper, KerasClassifier, KerasRegressor

sklearn = pytest.importorskip("sklearn")


def points(n=120, seed=0):
    """Three groups of points in the plane, and their numbers."""
    rng = np.random.RandomState(seed)
    y = rng.randint(3, size=n)
    centres = np.array([[0.0, 4], [4, 0], [-4, -4]])
    return centres[y] + rng.normal(size=(n, 2)), y


def classify(units=8, classes=3):
    optimizer = Adam(lr=0.03)
    model = Sequential([Dense(units, activation="relu", input_shape=(2,))])
    if classes == 1:
        model.add(Dense(1, activation="sigmoid"))
        model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"])
    else:
        model.add(Dense(classes, activation="softmax"))
        model.compile(optimizer, "categorical_crossentropy", metrics=["accuracy"])
    return model


def regress(units=8):
    model = Sequential([Dense(units, activation="tanh", input_shape=(2,)), Dense(1)])
    model.compile(Adam(lr=0.03), "mse")
    return model


FIT = {"epochs": 30, "batch_size": 16, "verbose": 0}


@pytest.fixture(autouse=True)
def seeded():
    np.random.seed(1)


def test_classifier():
    x, y = points()
    classifier = KerasClassifier(classify, units=12, **FIT)
    history = classifier.fit(x, y)
    assert history.epoch == list(range(30)) and history is classifier.history_
    assert classifier.model.layers[0].units == 12
    assert classifier.classes_.tolist() == [0, 1, 2] and classifier.n_classes_ == 3
    predicted = classifier.predict(x, verbose=0)
    assert predicted.shape == (120,)
    score = classifier.score(x, y, verbose=0)
    assert score == pytest.approx(np.mean(predicted == y)) and score > 0.9
    probabilities = classifier.predict_proba(x, batch_size=7, verbose=0)
    np.testing.assert_allclose(probabilities.sum(axis=1), np.ones(120), rtol=1e-5)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), predicted)


def test_classes_of_any_kind():
    x, y = points()
    names = np.array(["ash", "beech", "hornbeam"])
    classifier = KerasClassifier(classify, **FIT)
    classifier.fit(x, names[y])
    assert set(classifier.predict(x, verbose=0)) <= set(names)
    assert classifier.score(x, names[y], verbose=0) > 0.9


def test_rows_as_targets():
    x, y = points()
    rows = np.eye(3)[y]
    classifier = KerasClassifier(classify, **FIT)
    classifier.fit(x, rows)
    assert classifier.classes_.tolist() == [0, 1, 2]
    assert classifier.score(x, rows, verbose=0) > 0.9
    with pytest.raises(ValueError, match=r"Invalid shape for y: \(2, 2, 2\)"):
        classifier.fit(x, np.zeros((2, 2, 2)))


def test_one_output_gives_two_columns():
    x, y = points()
    y = np.where(y == 0, 5, 7)
    classifier = KerasClassifier(classify, classes=1, **FIT)
    classifier.fit(x, y)
    probabilities = classifier.predict_proba(x, verbose=0)
    assert probabilities.shape == (120, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), np.ones(120), rtol=1e-6)
    predicted = classifier.predict(x, verbose=0)
    assert predicted.shape == (120,) and set(predicted) == {5, 7}
    assert classifier.score(x, y, verbose=0) > 0.9


def test_regressor():
    x, _ = points()
    y = x[:, 0] - 2 * x[:, 1]
    regressor = KerasRegressor(regress, **FIT)
    regressor.fit(x, y)
    predicted = regressor.predict(x, batch_size=10)
    assert predicted.shape == y.shape and regressor.predict(x[:1]).shape == (1,)
    # The plain loss, not its negative.
    assert regressor.score(x, y, verbose=0) == pytest.approx(np.mean((predicted - y) ** 2), 1e-4)


def test_accuracy_must_have_been_asked_for():
    def without():
        model = Sequential([Dense(3, activation="softmax", input_shape=(2,))])
        model.compile("sgd", "categorical_crossentropy")
        return model

    x, y = points()
    classifier = KerasClassifier(without, epochs=1, verbose=0)
    classifier.fit(x, y)
    with pytest.raises(ValueError, match="accuracy"):
        classifier.score(x, y, verbose=0)


class Builder:
    def __call__(self, units=4):
        return classify(units)


class OwnClassifier(KerasClassifier):
    def __call__(self, units=4):
        return classify(units)


@pytest.mark.parametrize(
    "made", [lambda **k: KerasClassifier(Builder(), **k), lambda **k: OwnClassifier(**k)]
)
def test_other_ways_to_build(made):
    x, y = points()
    classifier = made(units=5, epochs=1, verbose=0)
    classifier.fit(x, y)
    assert classifier.model.layers[0].units == 5


def test_what_is_passed_to_a_method_goes_first():
    x, y = points()
    classifier = KerasClassifier(classify, epochs=3, verbose=0)
    assert classifier.fit(x, y, epochs=1).epoch == [0]
    assert KerasClassifier(classify, nb_epoch=2, verbose=0).fit(x, y).epoch == [0, 1]
    assert classifier.filter_sk_params(classify, {"units": 3}) == {"units": 3}


def test_unknown_parameters():
    with pytest.raises(ValueError, match="unit is not a legal parameter. Did you mean 'units'"):
        KerasClassifier(classify, unit=3)
    with pytest.raises(ValueError, match="zzz"):
        KerasClassifier(classify).set_params(zzz=1)
    with pytest.raises(ValueError, match="build_fn"):
        KerasClassifier(epochs=1)


def test_parameters():
    estimator = KerasRegressor(regress, epochs=3)
    assert estimator.get_params() == {"build_fn": regress, "epochs": 3}
    assert estimator.set_params(epochs=4, units=2) is estimator
    assert estimator.get_params()["units"] == 2
    estimator.set_params(build_fn=classify, classes=3)
    assert estimator.build_fn is classify
    assert isinstance(estimator, BaseWrapper)


def test_clone():
    from sklearn.base import clone, is_classifier, is_regressor

    sizes = [4, 5]
    estimator = KerasClassifier(lambda units=sizes: classify(units[0]), units=sizes, epochs=1)
    copied = clone(estimator)
    assert copied.get_params().keys() == estimator.get_params().keys()
    assert copied.get_params()["units"] == sizes
    assert is_classifier(copied) and is_regressor(KerasRegressor(regress))


def test_objects_as_parameters():
    from sklearn.model_selection import GridSearchCV

    def build(optimizer=None):
        model = Sequential([Dense(3, activation="softmax", input_shape=(2,))])
        model.compile(optimizer, "categorical_crossentropy", metrics=["accuracy"])
        return model

    x, y = points(60)
    search = GridSearchCV(
        KerasClassifier(build, epochs=20, verbose=0), {"optimizer": [SGD(0.0), Adam(0.05)]}, cv=2
    )
    search.fit(x, y)
    assert type(search.best_params_["optimizer"]) is Adam
    assert search.best_score_ > 0.8
    assert search.best_estimator_.score(x, y) > 0.8


def test_not_fitted_yet():
    from sklearn.exceptions import NotFittedError

    for estimator in (KerasClassifier(classify), KerasRegressor(regress)):
        with pytest.raises(NotFittedError, match="fit"):
            estimator.predict(points()[0])


def test_grid_search():
    from sklearn.model_selection import GridSearchCV

    x, y = points(60)
    search = GridSearchCV(
        KerasClassifier(classify, verbose=0), {"units": [2, 8], "epochs": [1, 40]}, cv=2
    )
    search.fit(x, y)
    assert search.best_params_["epochs"] == 40
    assert search.best_score_ > 0.6
    assert search.best_estimator_.score(x, y, verbose=0) > 0.6


def test_grid_search_over_a_regressor():
    from sklearn.model_selection import GridSearchCV

    x, _ = points(60)
    search = GridSearchCV(
        KerasRegressor(regress, verbose=0),
        {"epochs": [1, 100]},
        scoring="neg_mean_squared_error",
        cv=2,
    )
    search.fit(x, x[:, 0])
    assert search.best_params_ == {"epochs": 100}


def test_pipeline_and_cross_validation():
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = points()
    pipeline = Pipeline([("scale", StandardScaler()), ("net", KerasClassifier(classify, **FIT))])
    pipeline.fit(x * 100 + 7, y)
    assert pipeline.score(x * 100 + 7, y) > 0.9
    assert pipeline.predict(x[:3] * 100 + 7).shape == (3,)
    assert cross_val_score(pipeline, x, y, cv=3).min() > 0.7
    pipeline.set_params(net__epochs=1)
    assert pipeline.get_params()["net__epochs"] == 1
