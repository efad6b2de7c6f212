"""What stops a run, and what does not."""

from types import SimpleNamespace

import pytest
from mmengine.hooks import Hook
from mmpretrain.registry import MODELS

from must_mm.engine.guards import check_labels
from must_mm.models.losses import FairnessLoss
from must_mm.models.must import MUST
from must_mm.utils.distributed import unwrap
from tests.tiny import CLASSES, build, launch, train


def launch_train(config, tmp_path):
    config.dump(tmp_path / 'tiny.py')
    return launch('train', tmp_path / 'tiny.py')


# --------------------------------------------------------------------- data


def test_empty_list_of_images(config, tmp_path):
    (tmp_path / 'empty.txt').write_text('')
    config.train_dataloader.dataset.ann_file = str(tmp_path / 'empty.txt')
    with pytest.raises(ValueError, match='train_dataloader.*images.*ann_file'):
        launch_train(config, tmp_path).train()


@pytest.mark.parametrize('with_label', [True, False])
def test_empty_folder(config, tmp_path, with_label):
    (tmp_path / 'images' / 'ant').mkdir(parents=True)
    data = config.train_dataloader.dataset
    data.update(
        data_root=str(tmp_path),
        ann_file='',
        with_label=with_label,
        metainfo=dict(classes=('ant',)) if with_label else None,
    )
    with pytest.raises(
        ValueError, match='train_dataloader.*images.*data_prefix'
    ):
        launch_train(config, tmp_path).train()


def test_fewer_images_than_a_batch(config, tmp_path):
    config.train_dataloader.batch_size = 25
    with pytest.raises(
        ValueError, match='train_dataloader.*24 images.*batch of 25.*lower'
    ):
        launch_train(config, tmp_path).train()


def test_validation_set_with_other_classes(config):
    config.val_dataloader.dataset.metainfo.classes = ('ant', 'bee', 'cat')
    with pytest.raises(
        ValueError, match=r'val_dataloader.*3 classes.*num_classes is 4'
    ):
        train(config)


def test_labels_that_are_marked_nowhere(config):
    """Labels of the data set itself are for the log."""
    config.model.label_loss = dict(type='LabelLoss')
    with pytest.raises(
        ValueError, match='model.label_loss.*train_dataloader.*KnownLabels'
    ):
        train(config)


def test_what_tells_no_labels_before_it_is_loaded_is_let_be():
    check_labels([dict(inputs=0)])


def test_validation_set_in_another_order_than_the_start(config):
    """Same names, so that label 1 is no longer what the start calls 1."""

    def started(*classes):
        runner = build(config)
        runner.model.start = SimpleNamespace(
            classes=list(classes), load_into=lambda model: None
        )
        return runner

    with pytest.raises(
        ValueError,
        match="label 1 is 'bee' in val_dataloader.*, 'dog' in model.start",
    ):
        started('ant', 'dog', 'cat', 'bee').train()
    config.train_cfg.max_epochs = 1
    started(*CLASSES).train()
    started('ant', 'dog', 'cat', 'honey bee').train()  # they may be synonyms


# -------------------------------------------------------------------- batch


def test_rates_of_another_batch_that_nobody_made_follow(config):
    """As other tools than ours build a runner from a recipe."""
    config.published_batch = 16
    with pytest.raises(
        ValueError,
        match=r'published_batch is 16, the total batch of this run 8, .*'
        r'tools/train\.py',
    ):
        train(config)
    config.optim_wrapper.accumulative_counts = 2  # 2 x 8 images
    assert train(config).iter == 9


# ----------------------------------------------------------------- fairness


@pytest.mark.parametrize('by_epoch', [True, False])
def test_running_average_restarts_with_every_pass(config, by_epoch):
    """Three iterations a pass; seven in all, without epochs too."""
    config.model.head.fairness.moving_average = True
    if not by_epoch:
        config.train_cfg = dict(by_epoch=False, max_iters=7, val_interval=100)

    class Past(Hook):
        priority = 'VERY_LOW'  # after the restart
        restarted = []

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            loss = unwrap(runner.model, MUST).head.fairness_loss
            if loss.log_average.isinf().all():
                self.restarted.append(runner.iter)

    train(config, Past())
    assert Past.restarted == [0, 3, 6]


def test_running_average_is_saved(config):
    config.model.head.fairness.moving_average = True
    model = MODELS.build(config.model)
    assert 'head.fairness_loss.log_average' in model.state_dict()
    assert 'teacher.head.fairness_loss.log_average' not in model.state_dict()
    assert isinstance(model.head.fairness_loss, FairnessLoss)
