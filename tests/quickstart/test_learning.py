"""The whole learns: files, loader, views, seeds and training together."""

import pytest

from must_mm.quickstart.report import read_log
from must_mm.quickstart.run import RUNS
from must_mm.quickstart.target import write_digits
from must_mm.utils.paths import config_path
from tests.tiny import ROOT, launch

EPOCHS = 6
#: What ``train_tiny_clip(folder, seed=3)`` has trained, with the classifier
#: of the quickstart's prompts, in half precision.
START = ROOT / 'tests' / 'data' / 'digits_start.pth'
CONFIG = f"""
_base_ = [{str(config_path(RUNS['must']))!r}]
model = dict(start=dict(_delete_=True, type='ConvertedStart'))
"""


@pytest.mark.slow
def test_student_and_teacher_leave_zero_shot_behind(tmp_path):
    """The quickstart from its own start, for a fifth of its epochs.

    On the 400 held-out images, without a label, at least 10 points.
    """
    write_digits(tmp_path / 'digits', 32)
    config = tmp_path / 'digits.py'
    config.write_text(CONFIG)
    changes = {
        'model.start.checkpoint': START,
        'train_dataloader.dataset.data_root': tmp_path / 'digits',
        'val_dataloader.dataset.data_root': tmp_path / 'digits',
        'train_cfg.max_epochs': EPOCHS,
        'train_cfg.val_interval': EPOCHS,
        'param_scheduler.T_max': EPOCHS,
    }
    runner = launch(
        'train',
        config,
        *('--work-dir', tmp_path / 'must', '--cfg-options'),
        *(f'{key}={value}' for key, value in changes.items()),
    )
    runner.train()
    log = read_log(tmp_path / 'must')
    zero_shot, student = log.student
    assert 0.4 < zero_shot < 0.8  # of ten classes: it knows fonts
    assert student >= zero_shot + 0.1
    assert log.teacher[-1] >= zero_shot + 0.1
