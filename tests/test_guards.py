"""What stops a run, and what does not."""

import pytest
import torch
from mmengine.hooks import Hook
from mmpretrain.registry import MODELS
from tiny import build, launch, train

from must_mm.losses import FairnessLoss
from must_mm.teacher import unwrap


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


# ------------------------------------------------------------------- losses


class Poison(Hook):
    """Makes the reconstruction undefined from some iteration on."""

    def __init__(self, at):
        self.at = at

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.at:
            bias = unwrap(runner.model).decoder.decoder[0].bias
            bias.data.fill_(float('nan'))


def test_non_finite_loss_before_any_checkpoint(config):
    with pytest.raises(
        FloatingPointError,
        match=r'iteration 2 is not finite.*loss_st=[\d.].*loss_mim=nan.*'
        'No checkpoint was written.*optim_wrapper',
    ):
        train(config, Poison(at=1))


def test_non_finite_loss_names_the_checkpoint(config, tmp_path):
    with pytest.raises(
        FloatingPointError,
        match=r'iteration 5 is not finite.*Resume from \S+epoch_1\.pth',
    ):
        train(config, Poison(at=4))
    written = sorted(path.name for path in (tmp_path / 'run').glob('*.pth'))
    assert written == ['epoch_1.pth']


def test_damage_of_an_epoch_end_is_not_saved(config, tmp_path):
    with pytest.raises(FloatingPointError, match=r'epoch_1\.pth'):
        train(config, Poison(at=5))  # the last iteration of epoch 2
    assert not (tmp_path / 'run' / 'epoch_2.pth').exists()


def test_no_confident_sample_ever(config, tmp_path):
    """Every probability is near 1/4: the term is zero, training goes on."""
    config.model.head.update(logit_scale=0.01, threshold=0.9)
    config.train_cfg.max_epochs = 1

    class Terms(Hook):
        seen = []

        def after_train_iter(
            self, runner, batch_idx, data_batch=None, outputs=None
        ):
            self.seen.append({k: v.item() for k, v in outputs.items()})

    runner = train(config, Terms())
    assert len(Terms.seen) == 3
    for terms in Terms.seen:
        assert terms['loss_st'] == 0 and terms['conf_ratio'] == 0
        assert terms['loss_mim'] > 0 and terms['loss'] > 0
    assert all(p.isfinite().all() for p in runner.model.parameters())


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
            loss = unwrap(runner.model).head.fairness_loss
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


def test_order_of_hooks(config):
    """Losses are checked before anything is saved or averaged."""
    names = [type(hook).__name__ for hook in build(config).hooks]
    finite = names.index('FiniteLossHook')
    for later in (
        'EMATeacherHook',
        'SafeCheckpointHook',
        'ParamSchedulerHook',
    ):
        assert finite < names.index(later), names
    assert torch.is_grad_enabled()
