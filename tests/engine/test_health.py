"""Every sickness is provoked in a run, found, named and counted."""

import json
import logging

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmpretrain.registry import HOOKS, OPTIM_WRAPPERS

from must_mm.engine.health import Counts, HealthHook, is_due, not_finite
from must_mm.models.must import MUST
from must_mm.utils.distributed import unwrap
from tests.tiny import build, train

NAN = float('nan')


# ---------------------------------------------------------------- decisions


def test_due_after_patience_times_a_power_of_two():
    due = [row for row in range(100) if is_due(row, 5)]
    assert due == [5, 10, 20, 40, 80]
    assert [row for row in range(9) if is_due(row, 1)] == [1, 2, 4, 8]


def test_not_finite():
    values = dict(a=1.0, b=NAN, c=float('inf'), d=-float('inf'), e=0.0)
    assert not_finite(values) == ['b', 'c', 'd']


def test_rows_end_where_a_finding_ends():
    counts = Counts()
    for share in (0, 0, 0.1, 0, 0):
        counts.add_confidence(share)
    assert counts.without_confident_sample == 4
    assert counts.row_without_confident == 2
    for skipped in (True, True, False, True):
        counts.add_step(skipped)
    assert (counts.skipped_steps, counts.row_skipped) == (3, 1)
    assert not any(name.startswith('row') for name in counts.summary())


@pytest.mark.parametrize(
    'options, match',
    [
        (
            dict(patience=0),
            'HealthHook.patience must be a positive integer, got 0',
        ),
        (
            dict(max_skipped_steps=0),
            'max_skipped_steps must be a positive integer',
        ),
    ],
)
def test_options_are_checked(options, match):
    with pytest.raises(ValueError, match=match):
        HOOKS.build(dict(type='HealthHook', **options))


# --------------------------------------------------------------------- runs


@pytest.fixture
def run_config(config):
    """Three epochs of three iterations, no validation, patience of 3."""
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    config.test_dataloader = config.test_cfg = config.test_evaluator = None
    (health,) = (h for h in config.custom_hooks if h.type == 'HealthHook')
    health.update(patience=3, max_skipped_steps=4, interval=1)
    # random weights collapse at a higher rate
    config.optim_wrapper.optimizer.lr = 1e-5
    return config


def summary(tmp_path) -> dict:
    return json.loads((tmp_path / 'run' / 'health.json').read_text())


def findings(tmp_path) -> dict:
    """What the summary counts beside the iterations."""
    counts = summary(tmp_path)
    counts.pop('iterations')
    return {name: count for name, count in counts.items() if count}


def warnings_of(logged) -> list[str]:
    return [
        record.getMessage()
        for record in logged.records
        if record.levelno == logging.WARNING
        and record.getMessage().startswith('no sample')
    ]


class Fault(Hook):
    """Calls ``damage(model)`` before an iteration, counted from 0."""

    def __init__(self, at, damage):
        self.at, self.damage = at, damage

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.at:
            with torch.no_grad():
                self.damage(unwrap(runner.model, MUST))


def spread(model):
    """Make the class token of random weights depend on the image alone."""
    for network in (model, model.teacher):
        network.backbone.cls_token.zero_()
        network.backbone.pos_embed.zero_()


def run(config, *hooks):
    """Train a classifier that predicts several classes."""
    return train(config, Fault(0, spread), *hooks)


def broken_decoder(model):
    model.decoder.decoder[0].bias.fill_(NAN)


def test_healthy_run(run_config, logged, tmp_path):
    run(run_config)
    assert summary(tmp_path)['iterations'] == 9
    assert findings(tmp_path) == {}
    assert warnings_of(logged) == []


def test_loss_before_any_checkpoint(run_config, tmp_path):
    with pytest.raises(
        FloatingPointError,
        match=r'^loss_mim of iteration 2 is not finite.*loss_st=[\d.].*'
        'loss_mim=nan.*No checkpoint was written.*optim_wrapper',
    ):
        run(run_config, Fault(1, broken_decoder))
    assert findings(tmp_path) == dict(non_finite_losses=1)


def test_loss_names_the_checkpoint_and_is_not_saved(run_config, tmp_path):
    """At the last iteration of the second epoch."""
    with pytest.raises(
        FloatingPointError,
        match=r'iteration 6 is not finite.*Resume from \S+epoch_1\.pth',
    ):
        run(run_config, Fault(5, broken_decoder))
    written = sorted(path.name for path in (tmp_path / 'run').glob('*.pth'))
    assert written == ['epoch_1.pth']
    assert findings(tmp_path) == dict(non_finite_losses=1)


def poisoned_gradient(model):
    """The losses are finite, what comes back from them is not."""
    model.neck.proj.requires_grad_()
    with torch.enable_grad():
        model.neck.proj.register_hook(lambda gradient: gradient * NAN)


@pytest.mark.onedl
def test_gradients(run_config, tmp_path):
    with pytest.raises(
        FloatingPointError,
        match=r'gradients of iteration 4 are not finite \(norm nan\).*'
        r'loss_st=[\d.].*damaged neck\.proj\. Resume from \S+epoch_1\.pth.*'
        'clip_grad',
    ):
        run(run_config, Fault(3, poisoned_gradient))
    assert findings(tmp_path) == dict(non_finite_gradients=1)
    # neither teacher nor checkpoint has it
    assert not (tmp_path / 'run' / 'epoch_2.pth').exists()


def test_gradients_that_clipping_hides(run_config, tmp_path):
    """Clipped by an undefined norm, all of them are undefined."""
    run_config.optim_wrapper.clip_grad = dict(max_norm=1.0)
    with pytest.raises(FloatingPointError, match='gradients of iteration 2'):
        run(run_config, Fault(1, poisoned_gradient))


@pytest.mark.onedl
def test_teacher(run_config, tmp_path):
    """Its NaN would only show as a batch without confident samples."""

    def damage(model):
        model.teacher.neck.ln_post.weight.fill_(NAN)

    with pytest.raises(
        FloatingPointError,
        match=r"teacher's predictions of iteration 4 are not finite.*weights "
        r'of the teacher: neck\.ln_post\.weight.*Resume from \S+epoch_1.*'
        r'optim_wrapper\.optimizer\.lr',
    ):
        run(run_config, Fault(3, damage))
    assert findings(tmp_path) == dict(non_finite_teacher=1)


def test_no_confident_sample(run_config, logged, tmp_path):
    """Every probability is near 1/4: the term is zero, training goes on."""
    run_config.model.head.update(logit_scale=0.01, threshold=0.9)
    runner = run(run_config)
    scalars = runner.message_hub.log_scalars
    assert scalars['train/loss_st'].current() == 0
    assert scalars['train/loss_mim'].current() > 0
    assert all(p.isfinite().all() for p in runner.model.parameters())

    found = warnings_of(logged)
    assert len(found) == 2  # after 3 and after 6 of 9
    for text, row in zip(found, (3, 6), strict=True):
        assert f'last {row} iterations' in text
        assert 'model.head.threshold 0.9: lower it' in text
        assert 'teacher is 0.25' in text
    assert findings(tmp_path)['without_confident_sample'] == 9


def test_read_late_but_before_a_checkpoint(run_config, tmp_path):
    """Read every 10th iteration of 9: at the end of the epochs, of 3."""
    (health,) = (h for h in run_config.custom_hooks if h.type == 'HealthHook')
    health.interval = 10
    with pytest.raises(
        FloatingPointError,
        match=r'loss_align of iteration 5 .*Resume from \S+epoch_1\.pth',
    ):
        run(run_config, Fault(4, lambda m: m.ln_patch.weight.fill_(torch.nan)))
    assert summary(tmp_path)['iterations'] == 5
    assert not (tmp_path / 'run' / 'epoch_2.pth').exists()
    good = torch.load(tmp_path / 'run' / 'epoch_1.pth', weights_only=True)
    assert all(value.isfinite().all() for value in good['state_dict'].values())


# ---------------------------------------------------------- mixed precision


@OPTIM_WRAPPERS.register_module()
class AmpOnCPU(AmpOptimWrapper):
    """MMEngine's wrapper with PyTorch's scaler for the CPU."""

    def __init__(self, init_scale, **kwargs):
        OptimWrapper.__init__(self, **kwargs)
        self._scale_update_param = None
        self.cast_dtype = torch.bfloat16
        self.loss_scaler = torch.amp.GradScaler('cpu', init_scale=init_scale)


def use_amp(config, init_scale: float):
    config.optim_wrapper.update(type='AmpOnCPU', init_scale=init_scale)


def test_steps_skipped_while_the_scale_is_found(run_config, tmp_path):
    """Counted, and no reason to stop."""
    use_amp(run_config, init_scale=2.0**122)
    (health,) = (h for h in run_config.custom_hooks if h.type == 'HealthHook')
    health.max_skipped_steps = 9
    runner = train(run_config)
    skipped = findings(tmp_path)['skipped_steps']
    # every skipped step halves the scale
    scale = runner.optim_wrapper.loss_scaler.get_scale()
    assert scale == 2.0**122 / 2**skipped
    assert 1 <= skipped < 9


@pytest.mark.onedl
def test_every_step_skipped(run_config, tmp_path):
    use_amp(run_config, init_scale=1024.0)
    with pytest.raises(
        FloatingPointError,
        match=r'mixed precision has skipped the last 4 steps, up to iteration '
        r'5.*Resume from \S+epoch_1\.pth.*AutocastOptimWrapper',
    ):
        run(run_config, Fault(1, poisoned_gradient))
    assert findings(tmp_path) == dict(skipped_steps=4)


# ------------------------------------------------------------------- counts


def test_resumed_run_counts_on(run_config, logged, tmp_path):
    """Two epochs without a confident sample, then one more."""
    run_config.model.head.update(logit_scale=0.01, threshold=0.9)
    run_config.train_cfg.max_epochs = 1
    run(run_config)
    run_config.merge_from_dict(dict(resume=True, train_cfg=dict(max_epochs=2)))
    run(run_config)
    assert summary(tmp_path)['iterations'] == 6
    assert findings(tmp_path)['without_confident_sample'] == 6
    # the row goes on as well: a new one would warn after 3 again
    assert ['last 6' in text for text in warnings_of(logged)] == [False, True]


def test_micro_batches_take_no_step(run_config, tmp_path):
    """Steps that accumulation leaves out are no skipped steps."""
    run_config.optim_wrapper.accumulative_counts = 3
    run(run_config)
    assert findings(tmp_path) == {}


def test_before_anything_is_saved_or_averaged(run_config):
    names = [type(hook).__name__ for hook in build(run_config).hooks]
    health = names.index(HealthHook.__name__)
    for later in (
        'EMATeacherHook',
        'SafeCheckpointHook',
        'ParamSchedulerHook',
    ):
        assert health < names.index(later), names
