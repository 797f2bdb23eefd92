"""How every detector learns, in both paradigms: by gradient or by a fit, in this process or in several."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.distributed import DistError

from omnial_bench.config.schema import Recipe
from omnial_bench.data.images import Images
from omnial_bench.errors import UserError
from omnial_bench.io.whole import make_folder
from omnial_bench.models.checkpoint import RECIPE, Provenance, examine, load, read_provenance, save
from omnial_bench.models.distributed import check_share
from omnial_bench.models.fitted import Fitted
from omnial_bench.models.fitting import fit_detector
from omnial_bench.models.gradient import LOG as LOG
from omnial_bench.models.gradient import Order, descend, write_log
from omnial_bench.models.registry import build, check_learns
from omnial_bench.models.schedule import iterations_of
from omnial_bench.models.unfinished import STATE
from omnial_bench.processes import THREADS, crew, died
from omnial_bench.progress import Progress, Watch
from omnial_bench.runtime import fabric
from omnial_bench.types import Detector

log = logging.getLogger(__name__)

ECHO_SECONDS = 5.0
"""By how much a process that failed on its way lets one that died come first."""

Shipped = UInt8[np.ndarray, "n 3 h w"]


def train(
    recipe: Recipe,
    normals: Images,
    textures: UInt8[Tensor, "n 3 h w"],
    *,
    out: Path,
    provenance: Callable[[int], Provenance],
    progress: Progress | None = None,
    **settings: Any,
) -> Detector:
    """Train on normal images and write checkpoint, recipe and log to `out`; an interrupted training goes on.

    `provenance` is told the number of iterations; `settings` are fields of Order. What decides a resumed training's
    steps is saved with its key, so it ends with the weights of an undisturbed one. A Fitted is fitted instead, on one
    device and from the start, with no iterations. UserError where the loss stops being finite, for a batch that the
    devices cannot share, for a detector that learns in neither way, for code from elsewhere that is not among
    `trusted`, and as of `fit_detector`.
    """
    order = Order(recipe=recipe, out=out, categories=normals.categories, **settings)
    devices = order.devices
    check_share(recipe.training.batch, devices)
    make_folder(out)
    origin = provenance(iterations_of(recipe.training, len(normals)))
    if devices == 1 or isinstance(build(recipe, trusted=order.trusted, where="a recipe"), Fitted):
        return _train(order, origin, normals.images, textures, progress)
    from lightning_fabric.plugins.environments.lightning import find_free_network_port

    port = find_free_network_port()
    # As arrays, which are sent by value: tensors would need shared memory, of which a container may have little.
    tasks = [(order, origin, rank, port, normals.images.numpy(), textures.numpy()) for rank in range(devices)]
    try:
        with crew(dict, (), devices, lambda _: progress, called="devices", preload=[__name__]) as each:
            each(_train_share, tasks)
    except RuntimeError as error:
        # Who waits for one that died may be the first to tell of it.
        if not isinstance(error, DistError) and "gloo" not in str(error):
            raise
        raise died("devices") from error
    return load(out, trusted=order.trusted).detector


def _train_share(_: Any, task: tuple[Order, Provenance, int, int, Shipped, Shipped], watch: Watch) -> None:
    """Train as one of several processes, which find each other by a port of this machine."""
    order, origin, rank, port, images, textures = task
    place = {"LOCAL_RANK": rank, "NODE_RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    # Else Fabric divides the cores among the processes, and a figure would depend on the machine.
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    if rank:
        logging.getLogger("omnial_bench").setLevel(logging.ERROR)
    try:
        progress = watch("train") if rank == 0 else None
        _train(order, origin, torch.from_numpy(images), torch.from_numpy(textures), progress)
    except RuntimeError:
        # Mostly the echo of another process's end, which is to be heard first.
        time.sleep(ECHO_SECONDS)
        raise
    torch.distributed.destroy_process_group()


def _train(
    order: Order,
    origin: Provenance,
    images: UInt8[Tensor, "n 3 h w"],
    textures: UInt8[Tensor, "m 3 h w"],
    progress: Progress | None,
) -> Detector:
    generator = torch.Generator().manual_seed(order.seed)
    recipe, trusted = order.recipe, order.trusted
    detector = check_learns(build(recipe, generator, trusted=trusted, where="a recipe"))
    if isinstance(detector, Fitted):
        device, own = fabric(order.device, order.precision).device, order.categories
        # An interrupted fit leaves nothing and starts afresh.
        rows = fit_detector(
            detector, recipe, images, generator, device=device, categories=own, trusted=trusted, progress=progress
        )
    else:
        rows = descend(detector, order, origin, images, textures, generator, progress)
    if rows:
        write_log(order.out, rows)
        save(order.out, detector, recipe, origin.model_copy(update={"iterations": int(rows[-1]["iteration"])}))
        (order.out / STATE).unlink(missing_ok=True)
    return detector


def is_trained(folder: Path, key: str) -> bool:
    """Whether `folder` holds a finished and undamaged training that `key` describes; nothing of it is run."""
    if not (folder / RECIPE).is_file():
        return False
    try:
        origin = read_provenance(folder)
        return origin is not None and origin.key == key and bool(examine(folder))
    except UserError as error:
        log.warning("trained again: %s", error)
        return False
