"""The settings: the quickstart's, those of the paper, and their limits."""

import pytest

from must_mm.adapt.settings import (
    MAX_DECAY,
    Machine,
    Tower,
    choose,
    teacher_decay,
    threshold,
    workers,
)

GIB = 2**30
CPU, GPU = Machine('cpu', 8 * GIB, 2), Machine('cuda', 80 * GIB, 16)
TINY = Tower(size=32, width=128, depth=4)
BASE = Tower(size=224, width=768, depth=12)
LARGE = Tower(size=224, width=1024, depth=24)


def test_the_quickstart():
    """Its own: 30 epochs of 64, 4e-3 per 256, a decay of 0.99."""
    found = choose(1197, TINY, CPU, 10**6, 10**5)
    assert (found.epochs, found.batch_size) == (30, 64)
    assert found.lr == pytest.approx(4e-3 * 64 / 256, rel=0.01)
    assert found.decay == pytest.approx(0.99, abs=0.002)
    assert found.crop_min == 0.6
    assert found.layer_decay == pytest.approx(0.9, abs=0.04)
    assert not found.amp and workers(CPU) == 1


@pytest.mark.parametrize(
    ('images', 'tower', 'epochs', 'rate'),
    [
        (3680, BASE, 60, 2e-5),  # Pets, DTD
        (75750, BASE, 40, 2e-5),  # Food101
        (1281167, BASE, 30, 2e-5),  # ImageNet
        (75750, LARGE, 40, 4e-5),
    ],
)
def test_the_paper(images, tower, epochs, rate):
    found = choose(images, tower, GPU, GIB, 10**8)
    assert (found.epochs, found.batch_size) == (epochs, 64)
    assert found.lr == pytest.approx(rate * 64 / 256)
    assert found.layer_decay == 0.65
    assert found.crop_min == 0.3


@pytest.mark.parametrize('images', [2, 3, 65, 1000, 10**7])
@pytest.mark.parametrize('machine', [CPU, GPU])
def test_always_sound(images, machine):
    found = choose(images, BASE, machine, GIB, 10**8)
    assert 2 <= found.batch_size <= images
    steps = found.epochs * (images // found.batch_size)
    assert steps >= 300
    assert 0.5 <= found.decay <= MAX_DECAY
    assert 1 <= found.log_interval <= steps
    assert 1 <= found.checkpoint_interval <= found.epochs


def test_epochs_that_the_user_wants():
    assert choose(1000, TINY, CPU, 0, 1, given_epochs=3).epochs == 3


def test_memory_limits_the_batch():
    """0.8 of 8 GiB, less 2.4, hold 40 images of 0.1: a batch of 32."""
    fixed, per_image = int(2.4 * GIB), int(0.1 * GIB)
    assert choose(1000, BASE, CPU, fixed, per_image).batch_size == 32
    with pytest.raises(ValueError, match='--model.*GiB.*smaller'):
        choose(1000, BASE, CPU, 6 * GIB, GIB)


def test_imagenet_teacher():
    """37,536 published steps, and 0.9998 at the end of them."""
    assert teacher_decay(37536) == 0.9998


def test_threshold_is_the_median_within_limits():
    assert threshold([0.9, 0.8, 0.2]) == 0.7
    assert threshold([0.9, 0.5, 0.2]) == 0.5
    assert threshold([0.2, 0.1, 0.1]) == 0.3


def test_batches_fit_into_shared_memory(monkeypatch):
    """Containers often have 64 MiB of it: two batches a process, half of it.

    64 images of two views of 224 pixels are 18.4 MiB.
    """
    # the runs of other files go without loader processes, see conftest.py
    monkeypatch.setattr('must_mm.adapt.settings.workers', workers)
    batch = 64 * 2 * 3 * 224**2
    room = Machine('cpu', 8 * GIB, 16, shared=64 * 2**20)
    assert workers(room, batch) == 0
    assert workers(Machine('cpu', 8 * GIB, 16, shared=8 * GIB), batch) == 12
    assert workers(Machine('cpu', 8 * GIB, 16, shared=200 * 2**20), batch) == 2
    assert workers(Machine('cpu', 8 * GIB, 16), batch) == 12
    assert workers(room) == 12
    small = choose(1000, TINY, room, 10**6, 10**5)
    assert small.workers == 12
    assert choose(1000, BASE, room, 10**6, 10**5).workers == 0
