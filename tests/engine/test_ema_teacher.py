"""The EMA teacher: ramp, trajectory, accumulation, resume, validation."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmpretrain.registry import MODELS
from torch import nn

from must_mm.checkpoints.plain import load_tensors
from must_mm.engine.ema_teacher import EMATeacherHook
from must_mm.models.ema import ema_decay, ema_update
from must_mm.models.must import MUST
from must_mm.utils.distributed import unwrap
from tests.tiny import build, train, weights

START, END, WARMUP = 0.5, 0.9, 4  # as in tiny_config


class Trajectory(Hook):
    """Keeps all weights after every iteration, and the gradients' owners."""

    priority = 'LOW'  # after the teacher's update

    def __init__(self):
        self.states, self.with_grad = [], set()

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if not self.states:
            self.states.append(weights(runner))
            runner.optim_wrapper.optimizer.register_step_pre_hook(
                lambda *_: self.with_grad.update(
                    name
                    for name, param in runner.model.named_parameters()
                    if param.grad is not None
                )
            )

    def after_train_iter(self, runner, batch_idx, data_batch=None, **_):
        self.states.append(weights(runner))


def teacher_hook(runner) -> EMATeacherHook:
    return next(h for h in runner.hooks if isinstance(h, EMATeacherHook))


def assert_average(after, before, decay):
    """Check one update of every parameter and buffer.

    Tolerance: one float32 lerp, a few units in the last place (6e-8) of the
    operands.
    """
    names = [name for name in after if name.startswith('teacher.')]
    assert 'teacher.head.logit_scale' in names  # buffers as well
    for name in names:
        student = after[name[len('teacher.') :]].double()
        expected = decay * before[name].double() + (1 - decay) * student
        torch.testing.assert_close(
            after[name].double(),
            expected,
            rtol=1e-6,
            atol=1e-7 * max(1, float(student.abs().max())),
            msg=lambda text, name=name: f'{name}: {text}',
        )


def test_ramp():
    ramp = [ema_decay(t, 0.99, 0.9998, 4) for t in range(7)]
    # the decays in the recordings of the published system
    expected = [0.99, 0.99245, 0.9949, 0.99735, 0.9998, 0.9998, 0.9998]
    assert ramp == pytest.approx(expected, rel=1e-12)
    assert ramp[0] == 0.99
    assert ema_decay(0, 0.99, 0.9998, 0) == 0.9998


def test_update_of_parameters_buffers_and_counters():
    torch.manual_seed(0)
    teacher, student = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    nn.init.normal_(student.weight)
    student.running_mean.normal_()
    student.num_batches_tracked.fill_(7)

    def both(module):
        return [p.detach() for p in module.parameters()] + list(
            module.buffers()
        )

    before = [value.clone() for value in both(teacher)]
    ema_update(both(teacher), both(student), 0.9)
    for old, new, source in zip(
        before, both(teacher), both(student), strict=True
    ):
        if new.is_floating_point():
            torch.testing.assert_close(new, 0.9 * old + 0.1 * source)
        else:
            assert new == source == 7


def test_trajectory_equals_a_naive_recomputation(config):
    seen = Trajectory()
    runner = train(config, seen)
    states = seen.states
    assert len(states) == 1 + 9
    for name, value in states[0].items():  # the start: an exact copy
        if name.startswith('teacher.'):
            assert torch.equal(value, states[0][name[len('teacher.') :]])
    assert_average(states[1], states[0], START)  # t = 0: exactly d0
    for t in range(9):
        decay = START + (END - START) * min(1, t / WARMUP)
        assert_average(states[t + 1], states[t], decay)
        name = 'backbone.layers.0.attn.qkv.weight'
        assert not torch.equal(states[t + 1][name], states[t][name])
    assert teacher_hook(runner).step == 9
    logged = runner.message_hub.get_scalar('train/ema_decay')
    assert logged.current() == pytest.approx(END)


def test_one_update_per_optimizer_step(config):
    """Accumulating two of 3 x 3 iterations: steps after 2, 4, 6, 8 and 9."""
    config.optim_wrapper.accumulative_counts = 2
    seen = Trajectory()
    runner = train(config, seen)
    steps = 0
    for iteration in range(9):
        before, after = seen.states[iteration : iteration + 2]
        if iteration in (1, 3, 5, 7, 8):
            decay = START + (END - START) * min(1, steps / WARMUP)
            assert_average(after, before, decay)
            steps += 1
        else:  # nothing moves (the running average of fairness apart)
            for name in after:
                assert torch.equal(after[name], before[name]), name
    assert teacher_hook(runner).step == steps == 5


@pytest.mark.parametrize(
    'per_update, updates',
    [
        (16, {1: 1, 3: 1, 5: 1, 7: 1}),  # every second step of 8
        (12, {1: 1, 2: 1, 4: 1, 5: 1, 7: 1, 8: 1}),
        (4, {step: 2 for step in range(9)}),  # two at once
    ],
)
def test_one_update_per_so_many_images(config, per_update, updates):
    config.custom_hooks[0].images_per_update = per_update
    seen = Trajectory()
    runner = train(config, seen)
    taken = 0
    for iteration in range(9):
        before, after = seen.states[iteration : iteration + 2]
        decay = 1.0
        for _ in range(updates.get(iteration, 0)):
            decay *= START + (END - START) * min(1, taken / WARMUP)
            taken += 1
        assert_average(after, before, decay)
        assert (decay < 1) == (
            not torch.equal(
                after['teacher.head.classifier'],
                before['teacher.head.classifier'],
            )
        )
    hook = teacher_hook(runner)
    assert hook.step == taken
    assert hook.images == 9 * 8 - per_update * taken


def test_images_are_counted_across_accumulation_and_resume(config):
    """Steps of 16 images, an update for 24 of them; a rest of one epoch."""
    config.custom_hooks[0].images_per_update = 24
    config.optim_wrapper.accumulative_counts = 2
    config.train_cfg.max_epochs = 1
    train(config)
    path = f'{config.work_dir}/epoch_1.pth'
    # 16 images, then the 8 that end the epoch
    assert load_tensors(path)['ema_teacher'] == dict(step=1, images=0)
    config.custom_hooks[0].images_per_update = 20
    train(config)
    assert load_tensors(path)['ema_teacher'] == dict(step=1, images=4)
    config.train_cfg.max_epochs, config.resume = 2, True
    hook = teacher_hook(train(config))
    assert (hook.step, hook.images) == (2, 8)


def driven(images_per_update, batch: int, teacher, student) -> tuple:
    """A hook of a run of one process, and that run."""
    hook = EMATeacherHook(
        decay_start=0.9998,
        decay_end=0.9998,
        warmup_steps=0,
        images_per_update=images_per_update,
    )
    hook._averaged, hook._current = [teacher], [student]
    runner = SimpleNamespace(
        train_dataloader=SimpleNamespace(batch_size=batch),
        optim_wrapper=SimpleNamespace(should_update=lambda: True),
        message_hub=SimpleNamespace(update_scalar=lambda *_: None),
    )
    return hook, runner


@pytest.mark.parametrize('batch', [16, 64, 1024])
def test_teacher_in_float32_follows_one_in_float64(batch):
    """Weights that move by 0.5 % in 500 updates of 1024 images.

    The float64 teacher takes a step of the scaled decay for every batch. That
    of float32 has to follow its way within 0.5 %: it sees the student once in
    1024 images (0.2 %) and rounds. With the scaled decay it would stand still.
    """
    per_update, updates = 1024 // batch, 500
    start = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    start = start.double()
    exact, teacher, scaled = start.clone(), start.float(), start.float()
    student = start.float()
    hook, runner = driven(1024, batch, teacher, student)
    decay = 0.9998 ** (batch / 1024)
    for step in range(1, updates * per_update + 1):
        weights = start * (1 + 0.005 * step / (updates * per_update))
        student.copy_(weights)
        exact.lerp_(weights, 1 - decay)
        scaled.lerp_(student, 1 - decay)
        hook._after_step(None, (), {})
        hook.after_train_iter(runner, step)
    assert hook.step == updates

    def error(found):
        return ((found - exact).norm() / (exact - start).norm()).item()

    assert error(teacher) < 0.005
    if batch == 16:
        assert error(scaled) > 0.99


@pytest.mark.parametrize('fused', [False, True])
@pytest.mark.parametrize('per_update', [None, 16])
def test_a_step_that_mixed_precision_skips_does_not_count(fused, per_update):
    """Where it is skipped on the device as well as where on the host."""
    student = nn.Parameter(torch.ones(3))
    teacher = torch.zeros(3)
    optimizer = torch.optim.AdamW([student], lr=0.1, fused=fused)
    scaler = torch.amp.GradScaler('cpu', init_scale=2.0)
    hook, runner = driven(per_update, 8, teacher, student.detach())
    optimizer.register_step_post_hook(hook._after_step)
    taken = []
    for finite in (True, False, False, True, True, False, True):
        scaler.scale(torch.ones(()))
        student.grad = torch.full((3,), 1.0 if finite else torch.inf)
        scaler.step(optimizer)
        scaler.update()
        hook.after_train_iter(runner, 0)
        taken.append(hook.step)
    by_step = [1, 1, 1, 2, 3, 3, 4]
    assert taken == (
        by_step if per_update is None else [n // 2 for n in by_step]
    )
    assert hook.images == 0


def test_teacher_never_trains(config):
    seen = Trajectory()
    runner = train(config, seen)
    model = unwrap(runner.model, MUST)
    assert not any('teacher' in name for name in seen.with_grad)
    assert any(name.startswith('backbone.') for name in seen.with_grad)
    owned = {
        id(p)
        for group in runner.optim_wrapper.param_groups
        for p in group['params']
    }
    for param in model.teacher.parameters():
        assert not param.requires_grad and param.grad is None
        assert id(param) not in owned
    model.train()
    assert model.backbone.training
    assert not any(module.training for module in model.teacher.modules())


def test_step_counter_is_saved_and_resumed(config):
    """The ramp goes on where it stopped, and the teacher is not reset."""
    config.train_cfg.max_epochs = 1
    train(config)
    path = f'{config.work_dir}/epoch_1.pth'
    assert load_tensors(path)['ema_teacher'] == dict(step=3, images=0)

    config.train_cfg.max_epochs, config.resume = 2, True
    seen = Trajectory()
    runner = train(config, seen)
    assert teacher_hook(runner).step == 6
    saved = load_tensors(path)['state_dict']
    for name, value in saved.items():
        assert torch.equal(seen.states[0][name], value), name
    assert_average(seen.states[1], seen.states[0], START + 0.4 * 3 / WARMUP)


@pytest.mark.parametrize(
    'state, known', [(dict(step=7), True), (dict(step=7, images='3'), False)]
)
def test_state_of_an_earlier_version(state, known):
    """It counted steps alone."""
    hook = EMATeacherHook()
    runner = SimpleNamespace(_resume=True, _load_from='epoch_1.pth')
    if known:
        hook.after_load_checkpoint(runner, dict(ema_teacher=state))
        assert (hook.step, hook.images) == (7, 0)
    else:
        with pytest.raises(ValueError, match='epoch_1.pth holds no EMA'):
            hook.after_load_checkpoint(runner, dict(ema_teacher=state))


def test_load_from_starts_anew(config):
    """Unlike resume: the ramp restarts and the teacher is a copy again."""
    config.train_cfg.max_epochs = 1
    train(config)
    config.load_from = f'{config.work_dir}/epoch_1.pth'
    student = load_tensors(config.load_from)['state_dict']
    seen = Trajectory()
    train(config, seen)
    for name, value in seen.states[0].items():
        assert torch.equal(value, student[name.removeprefix('teacher.')])
    assert_average(seen.states[1], seen.states[0], START)


@pytest.mark.parametrize('resume', [True, False])
def test_a_new_run_forgets_what_another_start_said(config, resume):
    """Without StartPassHook, which would ask the new one."""
    config.train_cfg.max_epochs = 1
    config.model.pseudo_labels = {}
    first = train(config)
    assert len(first.model.pseudo_labels.start) == 24
    config.custom_hooks = [
        hook for hook in config.custom_hooks if hook.type != 'StartPassHook'
    ]
    config.load_from = f'{config.work_dir}/epoch_1.pth'
    config.resume = resume
    config.train_cfg.max_epochs = 2
    start = train(config).model.pseudo_labels.start
    assert len(start) == 24 * resume


def test_resume_of_a_foreign_checkpoint_says_so(config):
    config.train_cfg.max_epochs = 1
    train(config)
    path = f'{config.work_dir}/epoch_1.pth'
    checkpoint = load_tensors(path)
    del checkpoint['ema_teacher']
    torch.save(checkpoint, path)
    config.resume = True
    with pytest.raises(ValueError, match='load_from.*instead of --resume'):
        train(config)


@pytest.mark.parametrize(
    'options, key',
    [
        (dict(images_per_update=0), 'images_per_update'),
        (dict(decay_start=1.1), 'decay_start'),
        (dict(decay_end=-0.1), 'decay_end'),
        (dict(warmup_steps=-1), 'warmup_steps'),
    ],
)
def test_out_of_range_names_the_key(options, key):
    with pytest.raises(ValueError, match=f'EMATeacherHook.{key}'):
        EMATeacherHook(**options)


def test_other_models_are_refused():
    with pytest.raises(TypeError, match="model.type='MUST'"):
        unwrap(nn.Linear(1, 1), MUST)


def make_them_differ(model) -> None:
    """Give the teacher a head that prefers other classes."""
    with torch.no_grad():
        head = model.teacher.head.classifier
        head.copy_(head.roll(1, dims=1))


@pytest.mark.parametrize('phase', ['val', 'test'])
def test_both_are_evaluated(config, tmp_path, phase):
    """Labels made from the predictions: 18 of 24 the student's, 6 not."""
    runner = build(config)
    model = unwrap(runner.model, MUST)
    model.init_weights()
    make_them_differ(model)
    student = model.eval()
    loader = runner.build_dataloader(config.val_dataloader)
    lines, teacher_hits = [], 0
    for batch in loader:
        images = model.data_preprocessor(batch)['inputs']
        with torch.no_grad():
            guesses = (
                student(images).argmax(1),
                model.teacher(images).argmax(1),
            )
        for own, other in zip(*map(torch.Tensor.tolist, guesses), strict=True):
            sample = batch['data_samples'][len(lines) % 5]
            name = sample.img_path.split('images/')[1]
            label = own if len(lines) < 18 else (own + 1) % 4
            lines.append(f'{name} {label}')
            teacher_hits += other == label
    (tmp_path / 'guesses.txt').write_text('\n'.join(lines))
    config[f'{phase}_dataloader'].dataset.ann_file = str(
        tmp_path / 'guesses.txt'
    )
    runner = build(config)
    runner.model.load_state_dict(model.state_dict())
    found = getattr(runner, phase)()
    # percentages of 24 images, in float32
    expected = {
        'student/accuracy/top1': 75.0,
        'teacher/accuracy/top1': 100 * teacher_hits / 24,
    }
    assert found == pytest.approx(expected, rel=1e-5)
    assert teacher_hits != 18
    assert unwrap(runner.model, MUST).predict_with == 'student'


@pytest.mark.parametrize('who', ['student', 'teacher'])
def test_hooks_get_the_predictions_of_the_configured(config, who):
    class Outputs(Hook):
        seen = []

        def after_val_iter(
            self, runner, batch_idx, data_batch=None, outputs=None
        ):
            model = unwrap(runner.model, MUST)
            images = model.data_preprocessor(data_batch)['inputs']
            networks = dict(student=model, teacher=model.teacher)
            with torch.no_grad():
                expected = networks[who](images).softmax(1)
            found = torch.stack([sample.pred_score for sample in outputs])
            torch.testing.assert_close(found, expected)
            self.seen.append(batch_idx)

    config.model.predict_with = who
    runner = build(config, Outputs())
    make_them_differ(runner.model)
    runner.val()
    assert Outputs.seen == list(range(5))
    assert runner.model.predict_with == who


def test_the_switch_is_restored_after_an_error(config, monkeypatch):
    runner = build(config)

    def fail(self, data):
        raise RuntimeError(f'of the {self.predict_with}')

    monkeypatch.setattr(MUST, 'val_step', fail)
    with pytest.raises(RuntimeError, match='of the teacher'):
        runner.val()
    assert runner.model.predict_with == 'student'


def test_every_validation_reports_both_and_the_start(config):
    class Metrics(Hook):
        seen = []

        def after_val_epoch(self, runner, metrics=None):
            self.seen.append((runner.iter, set(metrics)))

    train(config, Metrics())
    keys = {'student/accuracy/top1', 'teacher/accuracy/top1'}
    assert Metrics.seen == [(at, keys) for at in (0, 3, 6, 9)]


def test_the_best_checkpoint_can_be_kept(config):
    """The validation of the start comes when its hook is ready."""
    config.default_hooks.checkpoint.save_best = 'teacher/accuracy/top1'
    runner = train(config)
    best = runner.message_hub.get_info('best_ckpt')
    assert load_tensors(best)['meta']['epoch'] <= 3


def test_model_alone_predicts_with_the_configured(config):
    config.model.predict_with = 'teacher'
    model = MODELS.build(config.model)
    model.init_weights()
    make_them_differ(model)
    images = torch.randn(2, 3, 32, 32)
    model.eval()
    with torch.no_grad():
        assert torch.equal(model(images), model.teacher(images))
