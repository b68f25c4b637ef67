"""The collective as a backend of ray.util.collective, against NumPy."""

import numpy as np
import pytest
from distributed.marks import ON_RAY

ray = pytest.importorskip("ray")
pytestmark = ON_RAY

WORKERS = 3


@pytest.fixture(scope="module")
def cluster():
    options = {"include_dashboard": False, "logging_level": "error", "log_to_driver": False}
    ray.init(address="local", num_cpus=8, **options)
    yield
    ray.shutdown()


def actor_class():
    class Member:
        def __init__(self):
            from hornbeam.distribution import register_collective_backend

            register_collective_backend()
            register_collective_backend()

        def join(self, workers, rank, name):
            from ray.util import collective

            collective.init_collective_group(workers, rank, backend="hornbeam", group_name=name)
            return collective.get_rank(name), collective.get_collective_group_size(name)

        def call(self, function, *arguments):
            return function(*arguments)

    return ray.remote(num_cpus=1)(Member)


@pytest.fixture(scope="module")
def members(cluster):
    made = [actor_class().remote() for _ in range(WORKERS)]
    joined = ray.get([m.join.remote(WORKERS, r, "three") for r, m in enumerate(made)])
    assert joined == [(r, WORKERS) for r in range(WORKERS)]
    yield made
    for member in made:
        ray.kill(member)


def everywhere(members, function, *arguments):
    return ray.get([m.call.remote(function, r, *arguments) for r, m in enumerate(members)])


def values(rank, dtype="float32"):
    return (np.random.RandomState(rank).randn(5, 7) * 100).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("operation", ["SUM", "PRODUCT", "MIN", "MAX"])
def test_reductions(members, dtype, operation):
    def work(rank, x):
        from ray.util import collective
        from ray.util.collective.types import ReduceOp

        op = getattr(ReduceOp, operation)
        reduced, at_root = x[rank].copy(), x[rank].copy()
        collective.allreduce(reduced, "three", op)
        collective.reduce(at_root, 1, "three", op)
        return reduced, at_root

    x = [values(r, dtype) for r in range(WORKERS)]
    found = everywhere(members, work, x)
    numpy = {"SUM": np.sum, "PRODUCT": np.prod, "MIN": np.min, "MAX": np.max}[operation]
    expected = numpy(np.asarray(x, dtype="float64" if dtype != "int64" else dtype), axis=0)
    for rank, (reduced, at_root) in enumerate(found):
        np.testing.assert_allclose(reduced, expected, rtol=1e-5, atol=1e-4)
        assert reduced.dtype == dtype and np.array_equal(reduced, found[0][0])
        assert np.array_equal(at_root, reduced if rank == 1 else x[rank])


def test_exchanges(members):
    def work(rank, x):
        from ray.util import collective

        gathered = [np.empty_like(x[0]) for _ in x]
        collective.allgather(gathered, x[rank], "three")
        copied = x[rank].copy()
        collective.broadcast(copied, 2, "three")
        scattered = np.empty_like(x[0])
        collective.reducescatter(scattered, [x[rank] * (k + 1) for k in range(3)], "three")
        collective.barrier("three")
        return gathered, copied, scattered

    x = [values(r, "float64") for r in range(WORKERS)]
    for rank, (gathered, copied, scattered) in enumerate(everywhere(members, work, x)):
        assert all(np.array_equal(a, b) for a, b in zip(gathered, x, strict=True))
        assert np.array_equal(copied, x[2])
        np.testing.assert_allclose(scattered, sum(x) * (rank + 1), rtol=1e-12)


def test_messages_from_one_to_another(members):
    def work(rank, x):
        from ray.util import collective

        if rank == 0:
            collective.send(x, 2, "three")
            collective.recv(x, 1, "three")
        elif rank == 1:
            collective.send(x + 10, 0, "three")
        else:
            collective.recv(x, 0, "three")
        return x

    def run(rank):
        # What arrives from Ray is read-only.
        return work(rank, np.full((3, 2), float(rank)))

    found = everywhere(members, run)
    assert np.all(found[0] == 11) and np.all(found[2] == 0)


def test_wrong_arguments(members):
    def work(rank):
        from ray.util import collective

        try:
            if rank == 0:
                collective.recv(np.zeros(2), 1, "three")
            elif rank == 1:
                collective.send(np.zeros(3), 0, "three")
        except ValueError as error:
            return str(error)
        return None

    message, *others = everywhere(members, work)
    assert "rank 0 expects 16 bytes (float64, (2,)), rank 1 sent 24" in message
    assert others == [None, None]


def test_a_group_of_the_same_name_can_be_formed_again(cluster):
    def leave(rank):
        from ray.util import collective

        collective.destroy_collective_group("again")

    def total(rank):
        from ray.util import collective

        x = np.full(3, rank + 1.0, dtype="float32")
        collective.allreduce(x, "again")
        return x.tolist()

    pair = [actor_class().remote() for _ in range(2)]
    for _ in range(2):
        ray.get([m.join.remote(2, r, "again") for r, m in enumerate(pair)])
        assert everywhere(pair, total) == [[3.0, 3.0, 3.0]] * 2
        everywhere(pair, leave)
    for member in pair:
        ray.kill(member)
