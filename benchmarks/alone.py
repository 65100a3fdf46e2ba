"""How fast decoding and the network are without a service: a process for each core, nothing between them."""

import multiprocessing
import os
import time
from collections.abc import Sequence
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

import numpy as np

MAX_BATCH_SIZE = 64  # of the first stage


def rate(images: Sequence[bytes], seconds: float, decode: bool) -> float:
    """Measure for some seconds.

    Args:
        images: Files where ``decode`` is set, else 784 bytes each.
        seconds: How long.
        decode: Whether the files are decoded, too.

    Returns:
        Images a second over all cores.
    """
    context = multiprocessing.get_context("spawn")  # a runtime with threads does not survive a fork
    processes = len(os.sched_getaffinity(0))
    barrier = context.Barrier(processes)
    results: Queue[float] = context.Queue()
    arguments = (list(images), seconds, decode, barrier, results)
    workers = [context.Process(target=_work, args=arguments) for _ in range(processes)]
    for worker in workers:
        worker.start()
    rates = [results.get(timeout=60 + 2 * seconds) for _ in workers]
    for worker in workers:
        worker.join()
    return sum(rates)


def _work(images: Sequence[bytes], seconds: float, decode: bool, barrier: Barrier, results: "Queue[float]") -> None:
    from app.inference.engine import Graph
    from app.inference.ensemble import load_cascade
    from app.registry import store
    from app.settings import Settings
    from app.vision.pipeline import preprocess
    from benchmarks.service import ROOT

    models = ROOT / "models" / "digits"
    cascade = load_cascade(Graph(store.verify(models / str(store.current(models)))), threads=1)
    max_pixels = Settings.from_environment().max_pixels
    barrier.wait()
    done, began = 0, time.monotonic()
    while time.monotonic() < began + seconds:
        for start in range(0, len(images), MAX_BATCH_SIZE):
            chunk = images[start : start + MAX_BATCH_SIZE]
            if decode:
                cascade.predict(np.stack([preprocess(image, max_pixels).image for image in chunk]))
            else:
                cascade.predict(np.frombuffer(b"".join(chunk), np.uint8).reshape(-1, 28, 28))
        done += len(images)
    results.put(done / (time.monotonic() - began))
