"""A collapse is provoked in a run, seen early, named, and undone."""

import logging
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.hooks import Hook

from must_mm.checkpoints.plain import load_tensors
from must_mm.engine.collapse import (
    LIMITS,
    Collapsed,
    CollapseHook,
    RunningSignals,
)
from must_mm.models.must import MUST, LastStep
from must_mm.utils.distributed import unwrap
from tests.tiny import BETTER_LABELS, assert_same_tensors, launch, train

UNIFORM = torch.full((4,), 0.25)
pytestmark = pytest.mark.usefixtures('plain_logs')


def step(labels: list[int], sure: float = 0.9, rank: int = 4) -> LastStep:
    """Predictions of these classes; features of that rank."""
    probs = torch.full((len(labels), 4), (1 - sure) / 3)
    probs[torch.arange(len(labels)), labels] = sure
    feats = torch.eye(8)[torch.arange(len(labels)) % rank]
    return LastStep(probs, feats, None)


def watched(steps, prior=UNIFORM, first=None, labels: int = 1):
    """The signals after some steps, by averages of so many labels."""
    watch = RunningSignals(prior, len(steps[0].probs))
    watch.shares.memory = labels
    if first is not None:
        watch.begin(torch.tensor(first))
    for seen in steps:
        watch.add(seen, threshold=0.7)
        signals = watch.read(seen.feats)
    return signals


# ------------------------------------------------------------------- signals


def test_growth_and_lost_classes_by_hand():
    even, skewed = step([0, 1, 2, 3]), step([2] * 6 + [0, 1])
    found = watched([even, skewed])
    assert found.top_class == 2 and found.top_class_share == 0.75
    assert found.class_growth == pytest.approx(3.0)
    assert found.lost_classes == 0.25  # the last one


def test_the_start_s_preference_is_no_growth():
    """Nor is what it did not find lost."""
    skewed = step([2] * 6 + [0, 1])
    found = watched([skewed], first=[2.0, 2.0, 12.0, 0.0])
    assert found.class_growth == pytest.approx(1.0)
    assert found.lost_classes == 0
    # what it did find is
    found = watched([skewed], first=[2.0, 2.0, 12.0, 4.0])
    assert found.lost_classes == 0.25


def test_a_stated_prior_is_no_growth():
    prior = torch.tensor([0.1, 0.1, 0.7, 0.1])
    found = watched(
        [step([0, 1, 2, 3]), step([2] * 7 + [0, 1, 3])], prior=prior
    )
    assert found.class_growth == pytest.approx(1.0)


def test_only_confident_labels_count():
    unsure = step([2] * 8, sure=0.6)
    found = watched([step([0, 1, 2, 3]), unsure])
    assert found.class_growth == 1  # nobody else teaches


def test_rank_alignment_and_disagreement():
    watch = RunningSignals(UNIFORM, 160)  # as many as it remembers
    for seen, labels in (
        (step([0, 1, 2, 3]), [0, 1, 2, 3]),
        (step([0, 1, 2, 3], rank=2), [0, 1, 3, 2]),
    ):
        watch.add(seen, 0.7, torch.tensor(0.5), torch.tensor(labels))
        signals = watch.read(seen.feats)
    assert signals.rank_loss == pytest.approx(0.5, abs=1e-5)
    assert signals.alignment == pytest.approx(0.5)
    assert signals.start_disagreement == pytest.approx(0.5)


def test_averages_remember():
    """16 of 160 labels weigh a tenth, once so many were seen."""
    even, one = step([0, 1, 2, 3] * 4), step([0] * 16)
    found = watched([*[even] * 10, one], labels=160)
    assert found.top_class_share == pytest.approx(0.9 * 0.25 + 0.1)
    assert watched([*[even] * 10, *[one] * 60], labels=160).top_class_share > (
        0.99
    )


@pytest.mark.parametrize('classes, batch', [(10, 64), (400, 64), (1000, 256)])
@pytest.mark.parametrize('start_known', [True, False])
def test_chance_is_no_collapse(classes, batch, start_known):
    """Labels of shares that never change, of which half are sure."""
    draws = torch.Generator().manual_seed(0)
    shares = torch.rand(classes, generator=draws) + 0.05
    watch = RunningSignals(torch.full((classes,), 1 / classes), batch)
    if start_known:
        watch.begin(1e4 * shares)
    images = 3 * 80 * classes
    for number in range(images // batch):
        labels = shares.multinomial(batch, True, generator=draws)
        probs = F.one_hot(labels, classes) * torch.where(
            torch.rand(batch, 1, generator=draws) < 0.5, 0.9, 0.5
        )
        watch.add(LastStep(probs, torch.eye(8), None), 0.7)
        if number % 10 == 9:
            signals = watch.read(torch.eye(8))
            assert signals.class_growth < LIMITS['class_growth'].warn
            assert signals.lost_classes < LIMITS['lost_classes'].warn
    assert signals.class_growth > 0  # enough was seen


def test_few_labels_say_nothing_of_classes():
    found = watched([step([2] * 8)], labels=80)
    assert found.class_growth == found.lost_classes == 0


def test_a_saved_state_goes_on():
    steps = [step([0, 1, 2, 3]), step([0, 0, 2, 3]), step([0, 0, 0, 3])]
    whole = RunningSignals(UNIFORM, 4)
    for seen in steps[:2]:
        whole.add(seen, 0.7)
        whole.read(seen.feats)
    whole.add(steps[2], 0.7)
    resumed = RunningSignals(UNIFORM, 4)
    resumed.load(whole.state())
    feats = steps[2].feats
    assert resumed.read(feats) == whole.read(feats)


@pytest.mark.parametrize(
    'options, match',
    [
        (dict(interval=0), 'CollapseHook.interval'),
        (dict(patience=0), 'CollapseHook.patience'),
        (dict(limits=dict(loss=(1, 2))), 'limits.loss.*class_growth'),
        (dict(limits=dict(alignment=('a', 2))), 'CollapseHook.limits.align'),
        (dict(limits=dict(alignment=(1,))), 'limits.alignment.*two'),
    ],
)
def test_options_are_checked(options, match):
    with pytest.raises(ValueError, match=match):
        CollapseHook(**options)
    with pytest.raises(TypeError, match='CollapseHook.stop'):
        CollapseHook(stop='no')


def test_limits_can_be_changed():
    hook = CollapseHook(limits=dict(alignment=None, rank_loss=(0.1, 0.2)))
    assert 'alignment' not in hook.limits and 'alignment' in LIMITS
    assert hook.limits['rank_loss'] == (0.1, 0.2)


# ----------------------------------------------------------------------- runs


class Swap(Hook):
    """Gives all images to the class that has fewest, or gives them back.

    Args:
        at: Iterations, from 0, at which it does either in turn.
    """

    def __init__(self, *at):
        self.at = at

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter not in (0, *self.at):
            return
        model = unwrap(runner.model, MUST)
        networks = (model, model.teacher)
        weak = model.data_preprocessor(data_batch, training=True)['inputs'][0]
        if runner.iter == 0:
            labels = model.teacher_probs(weak).argmax(1)
            self.rarest = torch.bincount(labels, minlength=4).argmin()
            self.sound = [net.head.classifier.clone() for net in networks]
        elif self.at.index(runner.iter) % 2:
            for net, sound in zip(networks, self.sound, strict=True):
                net.head.classifier.data.copy_(sound)
        else:
            for net in networks:
                (feats,) = net.extract_feat(weak)
                mean = F.normalize(feats.detach().mean(0), dim=0)
                net.head.classifier.data.copy_(-mean[:, None].expand(-1, 4))
                net.head.classifier.data[:, self.rarest] = mean


@pytest.fixture
def run_config(config, monkeypatch):
    """Eight epochs of three iterations; every label counts.

    The averages halve in one of them: the batch has 8 images.
    """
    for name in ('LABELS_PER_CLASS', 'IMAGES_PER_CLASS'):
        monkeypatch.setattr(f'must_mm.engine.collapse.{name}', 4)
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    config.test_dataloader = config.test_cfg = config.test_evaluator = None
    config.optim_wrapper.optimizer.lr = 1e-6
    config.model.head.threshold = 0.26
    config.train_cfg.max_epochs = 8
    config.param_scheduler.T_max = 8
    collapse(config).update(interval=1, patience=3)
    # untrained networks label as they like
    collapse(config).limits = dict(
        class_growth=(2.5, 3.5), lost_classes=None, start_disagreement=None
    )
    return config


def collapse(config):
    return next(h for h in config.custom_hooks if h.type == 'CollapseHook')


def warnings_of(logged) -> list[str]:
    return [
        record.getMessage()
        for record in logged.records
        if record.levelno == logging.WARNING
        and record.getMessage().startswith('self-training')
    ]


def files(config) -> list[str]:
    return sorted(p.name for p in Path(config.work_dir).glob('*.pth'))


def test_a_sound_run_says_nothing(run_config, logged):
    runner = train(run_config)
    assert warnings_of(logged) == []
    scalars = runner.message_hub.log_scalars
    for name in LIMITS:
        assert len(scalars[f'train/{name}']._log_history) == 24
    sound = Path(run_config.work_dir, 'last_sound_checkpoint').read_text()
    assert sound.endswith('epoch_8.pth')
    assert files(run_config) == ['epoch_7.pth', 'epoch_8.pth']


def test_a_collapse_stops_the_run(run_config, logged):
    run_config.default_hooks.checkpoint.max_keep_ckpts = 1
    with pytest.raises(
        Collapsed,
        match=r'collapsed by iteration \d+: \d+% of the labels that it is '
        r"sure of are '\w+', [\d.]+ times.*last sound checkpoint is "
        r'\S+epoch_\d\.pth.*BalancedLabels',
    ):
        train(run_config, Swap(6))
    pointer = Path(run_config.work_dir, 'last_sound_checkpoint')
    sound = Path(pointer.read_text())
    # it has outlived the checkpoints of the sick run
    assert sound.is_file() and sound.name in ('epoch_2.pth', 'epoch_3.pth')
    assert len(files(run_config)) == 2


def test_without_stop_warnings_are_all(run_config, logged):
    collapse(run_config).stop = False
    runner = train(run_config, Swap(6))
    found = warnings_of(logged)
    assert found and all('may be collapsing' in text for text in found)
    hook = next(h for h in runner.hooks if isinstance(h, CollapseHook))
    assert hook.flagged


def test_a_run_that_recovers_forgets_the_spared_checkpoint(run_config):
    run_config.default_hooks.checkpoint.max_keep_ckpts = 1
    collapse(run_config).stop = False
    collapse(run_config).limits.class_growth = (2.0, 9.0)
    collapse(run_config).patience = 2

    class Kept(Hook):
        priority = 'LOWEST'
        most = 0

        def after_train_epoch(self, runner):
            self.most = max(self.most, len(files(run_config)))

    kept = Kept()
    train(run_config, Swap(5, 10), kept)
    assert kept.most == 2
    assert files(run_config) == ['epoch_8.pth']


def test_resumed_runs_go_on_watching(run_config, images, tmp_path):
    run_config.merge_from_dict(BETTER_LABELS)
    collapse(run_config).stop = False
    train(run_config)
    whole = load_tensors(Path(run_config.work_dir, 'epoch_8.pth'))
    half = load_tensors(Path(run_config.work_dir, 'epoch_7.pth'))
    assert set(whole['collapse']) == {
        *('new', 'steps', 'shares', 'rest', 'weights'),
        *('first_shares', 'first_rank', 'rows'),
    }
    assert any(
        not torch.equal(whole['collapse'][name], half['collapse'][name])
        for name in ('shares', 'rest')
    )
    (Path(run_config.work_dir) / 'epoch_8.pth').unlink()
    run_config.dump(tmp_path / 'config.py')
    launch('train', tmp_path / 'config.py', '--resume').train()
    again = load_tensors(Path(run_config.work_dir, 'epoch_8.pth'))
    assert_same_tensors(again['collapse'], whole['collapse'])


def test_a_damaged_state_is_refused(run_config, tmp_path):
    run_config.train_cfg.max_epochs = 1
    train(run_config)
    path = Path(run_config.work_dir, 'epoch_1.pth')
    content = load_tensors(path)
    del content['collapse']['new']
    torch.save(content, path)
    run_config.train_cfg.max_epochs = 2
    run_config.dump(tmp_path / 'config.py')
    with pytest.raises(ValueError, match='epoch_1.pth.*collapse is damaged'):
        launch('train', tmp_path / 'config.py', '--resume').train()
