"""Settings for a number of images, a network and a machine: pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from ..runs.loader_workers import loader_workers

BATCH = 64
MEMORY_SHARE = 0.8  # of what is free
MAX_DECAY = 0.9998
# Compiling takes a minute or two and saves about a third of each step.
COMPILED_FROM = 5000  # steps


@dataclass(frozen=True)
class Machine:
    """What the run has.

    Attributes:
        device: ``'cuda'``, ``'mps'`` or ``'cpu'``.
        memory: Free bytes of the device.
        cores: CPU cores.
        amp: Whether it is faster in mixed precision.
        shared: Free bytes of the shared memory that batches pass through;
            ``None`` without a bound.
        devices: GPUs that runs may have to themselves, at a time.
    """

    device: str
    memory: int
    cores: int
    amp: bool = False
    shared: int | None = None
    devices: int = 1


@dataclass(frozen=True)
class Tower:
    """What the settings need to know of a vision tower.

    Attributes:
        size: Side of its images, in pixels.
        width: Channels of its tokens or of its last stage.
        depth: Number of blocks or stages.
    """

    size: int
    width: int
    depth: int


@dataclass(frozen=True)
class Settings:
    """How a run trains.

    Attributes:
        epochs: Passes over the images.
        batch_size: Images per step.
        lr: Learning rate of the last layer.
        layer_decay: Factor of the rate from each layer to the one below.
        decay: EMA decay of the teacher.
        crop_min: Smallest share of the image that the strong view shows.
        workers: Processes that load images.
        amp: Whether to train in mixed precision.
        recompute: Whether blocks are recomputed for the gradient.
        compile: Whether blocks are compiled.
        log_interval: Steps between two points of the curves.
        checkpoint_interval: Epochs between two checkpoints.
    """

    epochs: int
    batch_size: int
    lr: float
    layer_decay: float
    decay: float
    crop_min: float
    workers: int
    amp: bool
    recompute: bool
    compile: bool
    log_interval: int
    checkpoint_interval: int


def batch_size(
    images: int,
    free: int,
    fixed: int,
    per_image: int,
    too_many: int | None = None,
) -> int:
    """64 images, as published for one GPU, if there are and they fit.

    Args:
        images: Number of images.
        free: Free bytes.
        fixed: Bytes of weights, gradients and optimizer.
        per_image: Bytes that one image of a batch keeps.
        too_many: A number of images that did not fit, if one was tried.

    Returns:
        The batch size, at least 2.

    Raises:
        ValueError: If not even two images fit.
    """
    room = int((MEMORY_SHARE * free - fixed) / max(per_image, 1))
    if room < 2:
        need = (fixed + 2 * per_image) / MEMORY_SHARE / 2**30
        raise ValueError(
            f'--model: training needs about {need:.1f} GiB of memory, '
            f'{free / 2**30:.1f} GiB are free; take a smaller model'
        )
    if too_many:
        room = min(room, too_many - 1)
    return min(BATCH, images, 2 ** (room.bit_length() - 1))


def epochs(images: int, batch: int, device: str) -> int:
    """60, 40 or 30 epochs for thousands, tens of thousands, more images.

    Those of the published recipes (Pets and DTD, Food101, ImageNet); half of
    them without a GPU, where time counts. A handful of images is repeated
    until there are 300 steps.
    """
    count = next(
        count
        for limit, count in ((10_000, 60), (100_000, 40), (float('inf'), 30))
        if images < limit
    )
    if device == 'cpu':
        count //= 2
    return max(count, -(-300 // max(1, images // batch)))


def learning_rate(width: int, batch: int) -> float:
    """The rate of a tower, in proportion to the batch.

    Published: 2e-5 per 256 images for ViT-B (768 channels), 4e-5 for ViT-L
    (1024). Narrower towers take larger steps: log-linear between ViT-B and
    the quickstart's tower of 128 channels, trained at 4e-3.
    """
    if width >= 1024:
        rate = 4e-5
    else:
        rate = 2e-5 * (768 / min(768, max(width, 128))) ** 2.957
    return float(f'{rate * batch / 256:.3g}')


def layer_decay(depth: int) -> float:
    """0.65 from 12 blocks on, as published; less decay in shallow towers."""
    return round(0.65 ** min(1, depth / 12), 3)


def teacher_decay(steps: int) -> float:
    """The teacher averages over a 6th of the run, at most 5000 steps.

    What the last published decay is to the ImageNet recipe, and the
    quickstart's to its 540 steps. It is so from the first step on: a faster
    teacher at first follows a student that has not learned yet.
    """
    return round(min(MAX_DECAY, max(0.5, 1 - 6 / steps)), 6)


def choose(
    images: int,
    tower: Tower,
    machine: Machine,
    fixed: int,
    per_image: int,
    given_epochs: int | None = None,
    too_many: int | None = None,
    recompute: bool = False,
) -> Settings:
    """Choose the settings of a run.

    Args:
        images: Number of images.
        tower: The vision tower.
        machine: The machine.
        fixed: Bytes of weights, gradients and optimizer.
        per_image: Bytes that one image of a batch keeps.
        given_epochs: Epochs that the user wants instead.
        too_many: A number of images that did not fit, if one was tried.
        recompute: Whether blocks are recomputed.

    Raises:
        ValueError: If the network cannot be trained here.
    """
    batch = batch_size(images, machine.memory, fixed, per_image, too_many)
    passes = given_epochs or epochs(images, batch, machine.device)
    steps = passes * (images // batch)
    return Settings(
        epochs=passes,
        batch_size=batch,
        lr=learning_rate(tower.width, batch),
        layer_decay=layer_decay(tower.depth),
        decay=teacher_decay(steps),
        # a third of a small image is a few patches
        crop_min=0.3 if tower.size >= 128 else 0.6,
        workers=workers(machine, batch * 2 * 3 * tower.size**2),
        amp=machine.amp,
        recompute=recompute,
        compile=machine.device == 'cuda' and steps >= COMPILED_FROM,
        log_interval=max(1, steps // 200),
        checkpoint_interval=max(1, passes // 20),
    )


def fewer(epochs: int) -> int:
    """Passes that go on from a result: a third of those from the start."""
    return max(1, round(epochs / 3))


def shorter(settings: Settings, images: int) -> Settings:
    """Go on from a result: a third of the epochs.

    Args:
        settings: Those of a run from the start.
        images: Number of images.
    """
    passes = fewer(settings.epochs)
    steps = passes * (images // settings.batch_size)
    return replace(
        settings,
        epochs=passes,
        decay=teacher_decay(steps),
        log_interval=max(1, steps // 200),
        checkpoint_interval=max(1, passes // 20),
    )


def workers(machine: Machine, batch_bytes: int = 0) -> int:
    """Loader processes by :func:`loader_workers`; none on a single core.

    Each keeps two batches ready in shared memory, of which half is used;
    where it has no room for them, as in containers, there are fewer.

    Args:
        machine: The machine.
        batch_bytes: Bytes of a batch of views.
    """
    count = loader_workers(machine.cores) if machine.cores > 1 else 0
    if machine.shared is not None and batch_bytes:
        count = min(count, machine.shared // (4 * batch_bytes))
    return count


def threshold(confidences: Sequence[float]) -> float:
    """The confidence from which a pseudo-label is trusted.

    0.7, the most frequent published value, or the median confidence of the
    zero-shot classifier where that is lower, not below 0.3: so half of the
    images teach at the start. The published thresholds of fine-grained data
    sets, 0.3 to 0.5, were chosen by hand.
    """
    return round(min(0.7, max(0.3, median(confidences))), 2)
