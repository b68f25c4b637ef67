"""A cluster that grows and shrinks while it trains: the bits of one worker."""

import pytest
from distributed.marks import ON_RAY

ray = pytest.importorskip("ray")

from distributed.scenario import SHARDS, Members, Script, assert_same, fit  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402

from hornbeam.distribution import DataParallel  # noqa: E402

pytestmark = ON_RAY


def test_one_worker_becomes_three_and_then_two():
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.connect()

        def script():
            assert members.count() == 1
            nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
            yield lambda: members.count() == 3
            cluster.remove_node(nodes[0], allow_graceful=False)
            yield lambda: members.count() == 2

        with DataParallel(1, shards=SHARDS) as one:
            whole = fit(one, epochs=4)
        with DataParallel((1, 3), shards=SHARDS) as elastic:
            members = Members(elastic)
            acting = Script(script(), members.crew, patience=90)
            result = fit(elastic, [acting], epochs=4)
            sizes = [len(event["members"]) for event in elastic.generations()]
        assert_same(result, whole)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert sizes[0] == 1 and max(sizes) == 3 and sizes[-1] == 2
