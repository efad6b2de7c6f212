"""The notebooks run from their first cell to their last."""

import pytest

from tests.docs.notebook import run
from tests.tiny import ROOT

NOTEBOOKS = ROOT / 'docs' / 'notebooks'


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch, plain_logs):
    """An empty folder to run in; a training part of two batches."""
    monkeypatch.chdir(tmp_path)


def shorter(epochs: int) -> dict[str, str]:
    """Two steps for the start, one epoch of two batches for each run."""
    return {
        f'20_000, 4, {epochs}': '256, 1, 1',
        "cfg.log_level = 'WARNING'": "cfg.log_level = 'WARNING'; "
        'cfg.train_dataloader.dataset.indices = 128; '
        'cfg.val_dataloader.dataset.indices = 100; '
        'cfg.train_dataloader.num_workers = 0',
    }


def test_digits():
    changes = shorter(30)
    names, figures = run(NOTEBOOKS / 'digits.md', changes)
    text = (NOTEBOOKS / 'digits.md').read_text()
    for number in range(1, len(figures) + 1):
        assert f'(digits_{number}.png)' in text
        assert (NOTEBOOKS / f'digits_{number}.png').is_file()
    assert len(names['curves']['student']) == 2  # the start, and one epoch
    assert names['after'].shape == (400, 10)
    assert not names['after'].equal(names['before'])


def test_own_parts():
    names, _ = run(NOTEBOOKS / 'own_parts.md', shorter(5))
    assert len(names['found']) == 4
    # each part is used, and is another than the published one
    assert len(set(names['found'].values())) > 1
    model = names['runner'].model
    assert type(model.masking).__name__ == 'BlurredPlaces'


def test_pictures_belong_to_a_page():
    pages = ''.join(page.read_text() for page in NOTEBOOKS.glob('*.md'))
    for picture in NOTEBOOKS.glob('*.png'):
        assert picture.name in pages
