"""The front to Ray Train: what its users know works, and bits do not depend on the workers."""

import contextlib
import io
import os

import numpy as np
import pytest
from distributed.marks import ON_RAY

from hornbeam.distribution import default_shards

ray = pytest.importorskip("ray")
train = pytest.importorskip("ray.train")
pytestmark = [*ON_RAY, pytest.mark.filterwarnings("ignore::UserWarning")]

ROWS = np.random.RandomState(0).randn(200, 6).astype("float32")
TARGETS = (ROWS[:, :2] * 0.5 + 0.1).astype("float32")


@pytest.fixture(scope="module", autouse=True)
def cluster():
    options = {"include_dashboard": False, "logging_level": "error", "log_to_driver": False}
    ray.init(address="local", num_cpus=4, **options)
    yield
    ray.shutdown()


def run(function, workers, folder, config=None, **options):
    """Run a train function, which writes its results to the folder that it is given."""
    from hornbeam.distribution import HornbeamConfig, HornbeamTrainer

    settings = HornbeamConfig(**options.pop("settings", {"shards": 4}))
    failures = options.pop("failures", 0)
    trainer = HornbeamTrainer(
        function,
        train_loop_config={"folder": str(folder), **(config or {})},
        hornbeam_config=settings,
        scaling_config=train.ScalingConfig(num_workers=workers),
        run_config=train.RunConfig(
            storage_path=str(folder),
            name=options.pop("name", f"of-{workers}"),
            failure_config=train.FailureConfig(max_failures=failures),
        ),
        **options,
    )
    return trainer.fit()


def written(folder, rank=0):
    with np.load(os.path.join(folder, f"rank-{rank}.npz")) as archive:
        return [archive[name] for name in archive.files]


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def tools():
    """Return what train functions are made of; they travel by value, as a user's script's do."""

    def build(rate=0.01):
        import hornbeam as keras
        from hornbeam.layers import BatchNormalization, Dense, Dropout

        np.random.seed(5)
        model = keras.models.Sequential(
            [
                Dense(16, activation="relu", input_shape=(6,)),
                BatchNormalization(),
                Dropout(0.3),
                Dense(2),
            ]
        )
        model.compile(keras.optimizers.Adam(lr=rate), "mse", metrics=["mae"])
        return model

    def write(config, arrays):
        rank = train.get_context().get_world_rank()
        np.savez(os.path.join(config["folder"], f"rank-{rank}.npz"), *arrays)

    return build, write


def test_fit_in_a_train_function_has_the_bits_of_one_worker(tmp_path):
    build, write = tools()
    rows, targets = ROWS, TARGETS

    def function(config):
        model = build()
        if train.get_context().get_world_rank():
            # Random numbers that one worker alone draws do no harm: rank 0's count.
            np.random.rand(7)
            model.set_weights([w + 1 for w in model.get_weights()])
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown):
            history = model.fit(rows, targets, batch_size=24, epochs=3, validation_split=0.1)
        # One worker draws the progress bar.
        assert ("Epoch 3/3" in shown.getvalue()) == (train.get_context().get_world_rank() == 0)
        loss = model.evaluate(rows, targets, verbose=0)
        logs = [history.history[key] for key in sorted(history.history)]
        write(config, [*model.get_weights(), model.predict(rows), np.asarray(loss), *logs])

    results = {}
    for workers in (1, 2, 3):
        folder = tmp_path / str(workers)
        folder.mkdir()
        run(function, workers, folder)
        results[workers] = written(folder)
        for rank in range(1, workers):
            assert same(written(folder, rank), results[workers])
    assert same(results[1], results[2]) and same(results[1], results[3])


def test_synchronized_statistics(tmp_path):
    build, write = tools()
    rows, targets = ROWS, TARGETS

    def function(config):
        model = build()
        model.fit(rows, targets, batch_size=24, epochs=2, shuffle=False, verbose=0)
        write(config, model.get_weights())

    results = {}
    settings = {"shards": 4, "synchronized": True}
    for workers in (1, 3):
        folder = tmp_path / str(workers)
        folder.mkdir()
        run(function, workers, folder, settings=settings)
        results[workers] = written(folder)
    assert same(results[1], results[3])
    alone = build()
    alone.fit(rows, targets, batch_size=24, epochs=2, shuffle=False, verbose=0)
    for a, b in zip(results[1], alone.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-4)


def test_local_mode(tmp_path):
    """Without workers, the train function runs here, without a group."""
    build, _ = tools()
    trained = []

    def function(config):
        from hornbeam.distribution import ReportCheckpointCallback

        trained.append(build())
        callbacks = [ReportCheckpointCallback(metrics="loss")]
        trained[0].fit(ROWS, TARGETS, verbose=0, epochs=1, callbacks=callbacks)

    result = run(function, 0, tmp_path, {})
    alone = build()
    history = alone.fit(ROWS, TARGETS, verbose=0, epochs=1)
    assert same(trained[0].get_weights(), alone.get_weights())
    assert result.metrics == {"loss": history.history["loss"][0]}


def test_a_restart_goes_on_from_the_checkpoint(tmp_path):
    build, write = tools()
    rows, targets = ROWS, TARGETS

    def function(config):
        from hornbeam.callbacks import LambdaCallback
        from hornbeam.distribution import ReportCheckpointCallback

        seen = []

        def watch(epoch, logs):
            seen.append(epoch)
            marker = os.path.join(config["folder"], "died")
            last = train.get_context().get_world_rank() == 1
            if epoch == 2 and last and config["dies"] and not os.path.exists(marker):
                open(marker, "w").close()
                os._exit(1)

        model = build()
        report = ReportCheckpointCallback(metrics=["loss", "val_loss"])
        history = model.fit(
            rows,
            targets,
            batch_size=24,
            epochs=5,
            verbose=0,
            validation_split=0.1,
            callbacks=[LambdaCallback(on_epoch_end=watch), report],
        )
        logs = [history.history[key] for key in sorted(history.history)]
        state = [*model.get_weights(), *model.optimizer.get_weights()]
        write(config, [np.asarray(seen), *state, *logs])

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir(), cut.mkdir()
    expected = run(function, 2, whole, {"dies": False})
    result = run(function, 2, cut, {"dies": True}, failures=1)
    assert (cut / "died").exists()
    first, again = written(whole), written(cut)
    # After the restart, epochs that a checkpoint holds are not trained again; the latest may not
    # have been stored yet.
    assert first[0].tolist() == [0, 1, 2, 3, 4]
    assert again[0].tolist() in ([1, 2, 3, 4], [2, 3, 4])
    assert same(first[1:], again[1:])
    assert result.metrics == expected.metrics and set(result.metrics) == {"loss", "val_loss"}

    from hornbeam.distribution import ReportCheckpointCallback

    model = ReportCheckpointCallback.get_model(result.checkpoint)
    assert same(model.get_weights(), again[1 : 1 + len(model.get_weights())])


def test_tune_sweeps_over_learning_rates(tmp_path):
    from ray import tune
    from ray.tune.integration.ray_train import TuneReportCallback

    build, _ = tools()
    rows, targets, here = ROWS, TARGETS, tmp_path

    def function(config):
        from hornbeam.distribution import ReportCheckpointCallback

        model = build(config["rate"])
        callbacks = [ReportCheckpointCallback(metrics={"final": "loss"})]
        model.fit(rows, targets, batch_size=40, epochs=2, verbose=0, callbacks=callbacks)

    def trial(config):
        from hornbeam.distribution import HornbeamTrainer

        HornbeamTrainer(
            function,
            train_loop_config=config,
            scaling_config=train.ScalingConfig(num_workers=2),
            run_config=train.RunConfig(
                storage_path=str(here),
                name=f"rate-{config['rate']}",
                callbacks=[TuneReportCallback()],
            ),
        ).fit()

    tuner = tune.Tuner(
        trial,
        param_space={"rate": tune.grid_search([0.02, 1e-6])},
        run_config=tune.RunConfig(storage_path=str(tmp_path), name="sweep", verbose=0),
        tune_config=tune.TuneConfig(max_concurrent_trials=1),
    )
    results = tuner.fit()
    assert not results.errors
    best = results.get_best_result(metric="final", mode="min")
    assert best.config["rate"] == 0.02
    losses = [result.metrics["final"] for result in results]
    assert losses[0] != losses[1]
    assert "checkpoint_path" in best.metrics


@pytest.mark.parametrize("workers", [2, 3])
def test_shards_of_a_dataset(workers, tmp_path):
    """Each sample counts once, whichever worker has it; all workers agree on the results."""
    import ray.data

    _, write = tools()
    data = [{"a": float(i), "b": 1.0, "y": float(i % 7)} for i in range(90)]

    def function(config):
        from hornbeam.callbacks import EarlyStopping
        from hornbeam.distribution import RayData
        from hornbeam.layers import Dense
        from hornbeam.models import Sequential

        model = Sequential([Dense(1, input_shape=(2,), kernel_initializer="zeros")])
        model.compile("sgd", "mse")
        model.optimizer.lr = 0.0
        training = RayData(train.get_dataset_shard("train"), ["a", "b"], "y", batch_size=7)
        check = RayData(train.get_dataset_shard("train"), ["a", "b"], "y", batch_size=11)
        history = model.fit(
            training,
            epochs=2,
            verbose=0,
            validation_data=check,
            callbacks=[EarlyStopping("val_loss", patience=5)],
        )
        # A step whose gradients are those of the whole batch, each worker bringing a part.
        model.optimizer.lr = 1e-4
        steps = 0
        for x, y in RayData(train.get_dataset_shard("train"), ["a", "b"], "y", batch_size=90):
            model.train_on_batch(x, y)
            steps += 1
        write(config, [np.asarray(steps), *model.get_weights(), history.history["loss"],
                       history.history["val_loss"]])  # fmt: skip

    result = run(function, workers, tmp_path, datasets={"train": ray.data.from_items(data)})
    assert result.error is None
    everyone = [written(tmp_path, rank) for rank in range(workers)]
    assert all(same(theirs, everyone[0]) for theirs in everyone)
    steps, kernel, bias, loss, val_loss = everyone[0]
    x = np.array([[r["a"], r["b"]] for r in data])
    y = np.array([r["y"] for r in data])
    np.testing.assert_allclose([*loss, *val_loss], [np.mean(y**2)] * 4, rtol=1e-5)
    assert steps == 1
    # By hand: from zeros, one step of gradient descent on the mean over all 90 samples.
    np.testing.assert_allclose(kernel[:, 0], 1e-4 * 2 * np.mean(y[:, None] * x, 0), rtol=1e-4)
    np.testing.assert_allclose(bias, [1e-4 * 2 * np.mean(y)], rtol=1e-4)


def test_what_must_be_alike_on_all_workers_is_compared(tmp_path):
    rows, targets = ROWS, TARGETS
    _, write = tools()

    def function(config):
        from hornbeam.layers import Dense
        from hornbeam.models import Sequential

        rank = train.get_context().get_world_rank()
        said = []
        for units, part in ((3 + rank, slice(None)), (3, slice(100 * rank, None))):
            model = Sequential([Dense(units, input_shape=(6,)), Dense(2)])
            model.compile("sgd", "mse")
            try:
                model.fit(rows[part], targets[part], verbose=0)
            except ValueError as error:
                said.append(str(error))
        write(config, [np.array(said)])

    run(function, 2, tmp_path)
    for rank in range(2):
        about_model, about_data = written(tmp_path, rank)[0]
        assert "ranks [1] have built another model than rank 0" in about_model
        assert "different data: rank 0 arrays of the shapes [(200, 6), (200, 2)]" in about_data
        assert "rank 1 of [(100, 6), (100, 2)]" in about_data and "RayData" in about_data


def test_errors_of_the_callback(tmp_path):
    from hornbeam.distribution import HornbeamConfig, RayData, ReportCheckpointCallback

    with pytest.raises(ValueError, match="checkpoint_on='epochs'.*epoch_end"):
        ReportCheckpointCallback(checkpoint_on="epochs")
    with pytest.raises(ValueError, match="the logs have no \\['acc'\\]; they have \\['loss'\\]"):
        ReportCheckpointCallback(metrics=["acc"])._reported({"loss": 1.0})
    with pytest.raises(TypeError, match="RayData expects a ray.data.Dataset.*list"):
        RayData([1, 2], "x")
    with pytest.raises(ValueError, match="power of two"):
        HornbeamConfig(shards=3)
    assert default_shards(3) == 4
