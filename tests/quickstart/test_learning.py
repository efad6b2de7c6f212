"""The whole learns: files, loader, views, seeds and training together."""

import pytest

from must_mm.quickstart.report import read_log
from must_mm.quickstart.run import RUNS, options
from must_mm.quickstart.target import write_digits
from must_mm.quickstart.tiny_clip import train_tiny_clip
from must_mm.utils.paths import config_path
from tests.tiny import launch

EPOCHS = 10


@pytest.mark.slow
def test_student_and_teacher_leave_zero_shot_behind(tmp_path):
    """The quickstart with its own start, for a third of its epochs.

    On the 400 held-out images, without a label, at least 10 points.
    """
    train_tiny_clip(tmp_path / 'start', seed=3)
    write_digits(tmp_path / 'digits', 32)
    changes = options(tmp_path) | {
        'train_cfg.max_epochs': EPOCHS,
        'param_scheduler.T_max': EPOCHS,
    }
    runner = launch(
        'train',
        config_path(RUNS['must']),
        *('--work-dir', tmp_path / 'must', '--cfg-options'),
        *(f'{key}={value}' for key, value in changes.items()),
    )
    runner.train()
    log = read_log(tmp_path / 'must')
    assert len(log.student) == EPOCHS + 1
    zero_shot = log.student[0]
    assert 0.4 < zero_shot < 0.8  # of ten classes: it knows fonts
    assert log.student[-1] >= zero_shot + 0.1
    assert log.teacher[-1] >= zero_shot + 0.1
