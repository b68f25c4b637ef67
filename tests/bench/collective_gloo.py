"""Times torch's gloo all-reduce between two processes of this machine.

Prints ``bytes,best,median`` in microseconds, one line a size, measured as ``hornbeam-rank bench``
measures: the time of a batch of runs, the slower rank's, best and median over the batches, best of
several rounds.

Run it with a Python that has torch: ``python tests/bench/collective_gloo.py [ROUNDS]``.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import time

SIZES = [
    (4 << 10, 20, 100),
    (64 << 10, 20, 50),
    (1 << 20, 15, 10),
    (16 << 20, 8, 2),
    (64 << 20, 5, 1),
]
"""Bytes, batches, and runs in a batch."""


def measure(rank: int, port: int, rounds: int, results: multiprocessing.Queue) -> None:
    """Runs one rank and puts ``(bytes, best, median)`` of every size and round on the queue.

    Args:
        rank: 0 or 1.
        port: A free port for the rendezvous.
        rounds: How often each size is measured.
        results: Takes the times in microseconds.
    """
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    os.environ["MASTER_PORT"] = str(port)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    for size, batches, batch in SIZES * rounds:
        data = torch.zeros(size // 4)
        dist.all_reduce(data)
        dist.barrier()
        times = []
        for _ in range(batches):
            began = time.perf_counter()
            for _ in range(batch):
                dist.all_reduce(data)
            times.append((time.perf_counter() - began) * 1e6 / batch)
        times.sort()
        results.put((size, times[0], times[len(times) // 2]))
    dist.barrier()
    dist.destroy_process_group()


def main(rounds: int) -> None:
    """Runs both ranks and prints the lines."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    queues = [context.Queue(), context.Queue()]
    ranks = [
        context.Process(target=measure, args=(rank, port, rounds, queue), daemon=True)
        for rank, queue in enumerate(queues)
    ]
    for rank in ranks:
        rank.start()
    times: dict[int, list[tuple[float, float]]] = {}
    for _ in range(len(SIZES) * rounds):
        (size, *first), (_, *second) = (queue.get(timeout=120) for queue in queues)
        times.setdefault(size, []).append((max(first[0], second[0]), max(first[1], second[1])))
    for rank in ranks:
        rank.join()
    for size, pairs in times.items():
        best, median = (min(values) for values in zip(*pairs, strict=True))
        print(f"{size},{best:.1f},{median:.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
