"""One worker of a group, in a process of its own: speaks lines of JSON with its launcher.

Reads first what to do, then memberships; `{"change": true}` ends the present generation. Writes its
address, `{"formed": generation}` and `{"failed": generation}` when one begins and ends,
`{"at": batch}` where it was told to wait, and its results.
"""

import hashlib
import json
import os
import queue
import signal
import sys
import threading

import numpy as np
from distributed.cases import CASES, LARGE, STATISTICS

from hornbeam import backend as K
from hornbeam.callbacks import Callback
from hornbeam.distribution import ShardedStrategy, set_strategy


def tell(**message):
    print(json.dumps(message), flush=True)


class Orders:
    """What the launcher says; a change of the membership ends the generation at once."""

    def __init__(self):
        self.lines = queue.Queue()
        self.group = None
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in sys.stdin:
            message = json.loads(line)
            if "change" in message:
                self.group.abort("the membership changes")
            else:
                self.lines.put(message)

    def next(self):
        return self.lines.get(timeout=120)


class Interrupted(Callback):
    """Waits for the launcher, or dies, at a batch of the first epoch that is run."""

    def __init__(self, orders, wait_at, die_at):
        super().__init__()
        self.orders, self.wait_at, self.die_at, self.batches = orders, wait_at, die_at, 0

    def on_batch_end(self, batch, logs=None):
        self.batches += 1
        if self.batches == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.batches == self.wait_at:
            tell(at=self.batches)
            assert self.orders.next() == {"go": True}


def membership(orders):
    message = orders.next()
    return message["rank"], message["generation"], [tuple(m) for m in message["members"]]


def digest(arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()


def main():
    orders = Orders()
    task = orders.next()
    case = {**CASES, **STATISTICS, **LARGE}[task["case"]]()
    case.epochs = task["epochs"]
    callbacks = []
    if task.get("wait_at") or task.get("die_at"):
        callbacks = [Interrupted(orders, task.get("wait_at"), task.get("die_at"))]
    initial_epoch = 0
    if task["workers"]:
        listener = K.Listener("127.0.0.1", (0, 0), task.get("token", "token").encode())
        tell(address=listener.address)
        rank, generation, members = membership(orders)
        group = K.Group.connect(listener, "test", rank, members, generation)
        orders.group = group
        tell(formed=generation)

        def regroup(error):
            tell(failed=group.generation, kind=error.kind)
            rank, generation, members = membership(orders)
            group.regroup(rank, generation, members)
            tell(formed=generation)

        strategy = ShardedStrategy(group, regroup, case.model, task.get("synchronized", False))
        set_strategy(strategy)
        if task.get("joins"):
            initial_epoch = strategy.join(case.model) - 1
    history = case.fit(callbacks, initial_epoch)
    model = case.model
    loss = model.evaluate(*case.data, batch_size=7, verbose=0)
    predictions = model.predict(case.data[0], batch_size=5)
    optimizer = model.optimizer.get_weights()
    if task.get("count_early"):
        # Of the last epoch.
        tell(early=strategy._pass._loop.early_sums)
    if task.get("count_partitioned"):
        loop = strategy._pass._loop
        tell(steps=loop.steps, partitioned=loop.partitioned_steps)
    np.savez(task["out"], *model.get_weights(), *optimizer, predictions)
    tell(
        weights=digest([*model.get_weights(), *optimizer]),
        predictions=digest([predictions]),
        loss=np.ravel(loss).tolist(),
        history=history.history,
    )


if __name__ == "__main__":
    main()
