"""The algorithm: its stages, what trains, and runs resumed bit for bit."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmpretrain.registry import MODELS

from must_mm.checkpoints.plain import load_tensors
from must_mm.engine.maect_hooks import MAECTCheckHook
from must_mm.models.maect import MAECT
from must_mm.utils.distributed import unwrap
from tests.tiny import (
    BATCH,
    SIZE,
    WIDTH,
    assert_same_tensors,
    train,
    weights,
)
from tests.tiny_maect import DEPTH, maect_config, write_mae

STAGE2, STAGE3 = 'vit-b16_stage2', 'vit-b16_stage3'


@pytest.fixture(scope='module')
def mae(tmp_path_factory):
    """A random MAE of MMPretrain's own."""
    return write_mae(tmp_path_factory.mktemp('mae') / 'mae.pth')


@pytest.fixture(scope='module')
def stage2(images, mae, tmp_path_factory):
    """Stage 2, trained from that MAE, and its work dir."""
    work_dir = tmp_path_factory.mktemp('stage2')
    runner = train(maect_config(STAGE2, images, work_dir, mae))
    return runner, work_dir


class States(Hook):
    """The whole model before training and after every iteration.

    It runs after the hook that updates the averages.
    """

    priority = 'LOW'

    def before_train(self, runner):
        self.states = [weights(runner)]

    def after_train_iter(self, runner, batch_idx, **kwargs):
        self.states.append(weights(runner))


class Rates(Hook):
    """Learning rates over the initial ones, before the next is set."""

    priority = 'VERY_HIGH'

    def before_train(self, runner):
        self.rates = []

    def after_train_iter(self, runner, batch_idx, **kwargs):
        group = runner.optim_wrapper.optimizer.param_groups[-1]
        self.rates.append(group['lr'] / group['initial_lr'])


ENCODER_DECAY = 0.8  # a fast average: its errors show after a few steps


def stage3_config(images, work_dir, stage2_dir):
    return maect_config(
        STAGE3,
        images,
        work_dir,
        stage2_dir / 'epoch_2.pth',
        {
            'model.encoder_decay': ENCODER_DECAY,
            'optim_wrapper.paramwise_cfg.head_lr': 0.5e-3,
        },
    )


@pytest.fixture(scope='module')
def stage3(images, stage2, tmp_path_factory):
    """Stage 3 from there: its runner, config, states and rates."""
    cfg = stage3_config(images, tmp_path_factory.mktemp('stage3'), stage2[1])
    states, rates = States(), Rates()
    return train(cfg, states, rates), cfg, states.states, rates.rates


def same(first, second, prefix) -> set[bool]:
    """Whether tensors of a part are equal, over all of them."""
    return {
        torch.equal(first[name], second[name])
        for name in first
        if name.startswith(prefix)
    }


# -------------------------------------------------------------------- stages


def test_stage_2_trains_the_head_on_a_frozen_encoder(stage2, mae):
    runner, _ = stage2
    first = load_tensors(mae)['state_dict']
    final = weights(runner)
    kept = [name for name in final if name.startswith('backbone.')]
    assert len(kept) > 4 * DEPTH
    for name in kept:  # the weights of the masked autoencoder
        assert torch.equal(final[name], first[name]), name
    trained = {name for name, *_ in grouped(runner)}
    assert trained == {
        name
        for name, _ in runner.model.named_parameters()
        if name.startswith('head.')
    }
    model = runner.model.train()
    assert model.head.training and not model.backbone.training
    assert model.encoder_ema is None
    assert model.head.queue.sample_ids.unique().tolist() == list(range(24))


def test_stage_3_starts_from_the_whole_head(stage3, stage2):
    """Encoder, projector, predictor and queue; averages start as copies."""
    start, expected = stage3[2][0], weights(stage2[0])
    for name, value in expected.items():
        assert torch.equal(start[name], value), name
    for average, source in (
        ('encoder_ema.', 'backbone.'),
        ('head.target_projector.', 'head.projector.'),
    ):
        names = [name for name in start if name.startswith(average)]
        assert names
        for name in names:
            assert torch.equal(
                start[name], start[source + name[len(average) :]]
            )


def test_stage_3_tunes_the_upper_half(stage3):
    runner, _, states, _ = stage3
    first, last = states[0], states[-1]
    for part in ('cls_token', 'pos_embed', 'patch_embed', 'layers.0.'):
        assert same(first, last, f'backbone.{part}') == {True}, part
    for layer in range(DEPTH):
        name = f'backbone.layers.{layer}.ffn.layers.1.weight'
        assert torch.equal(first[name], last[name]) == (layer < DEPTH // 2)
    assert same(first, last, 'backbone.ln1.') == {False}
    assert same(first, last, 'head.projector.fc') == {False}
    assert not runner.model.encoder_ema.training


def grouped(runner):
    """Yield each parameter that trains: its name, itself, its group."""
    for group in runner.optim_wrapper.optimizer.param_groups:
        pairs = zip(group['param_names'], group['params'], strict=True)
        yield from ((name, param, group) for name, param in pairs)


def test_groups_of_stage_3_by_the_formulas(stage3):
    """Block i: 0.65^(L - i); the last norm: 1; the head: its own."""
    runner, cfg, _, _ = stage3
    base = cfg.optim_wrapper.optimizer.lr
    seen = set()
    for name, param, group in grouped(runner):
        part = name.split('.')
        if part[0] == 'head':
            lr, decay = 0.5e-3, 1e-5
        elif part[1] == 'layers':
            lr, decay = base * 0.65 ** (DEPTH - int(part[2])), 0.05
        else:
            assert part[1] == 'ln1'
            lr, decay = base, 0.05
        assert group['initial_lr'] == pytest.approx(lr), name
        decay = decay if param.ndim > 1 else 0
        assert group['weight_decay'] == decay, name
        seen.add('.'.join(part[:3] if part[1] == 'layers' else part[:2]))
    assert seen == {
        'backbone.layers.2',
        'backbone.layers.3',
        'backbone.ln1',
        'head.projector',
        'head.predictor',
    }


def test_averages_follow_every_step(stage3):
    """Both averages again, from the weights after each step."""
    runner, _, states, _ = stage3
    statistics = {name for name, _ in runner.model.named_buffers()}
    assert len(states) == 1 + 6
    for before, after in zip(states, states[1:], strict=False):
        for average, source, keep in (
            ('encoder_ema.', 'backbone.', ENCODER_DECAY),
            ('head.target_projector.', 'head.projector.', 0.99),
        ):
            for name in after:
                if not name.startswith(average):
                    continue
                now = after[source + name[len(average) :]]
                if name in statistics:
                    expected = now
                else:
                    expected = keep * before[name] + (1 - keep) * now
                torch.testing.assert_close(
                    after[name], expected, rtol=1e-5, atol=1e-7
                )


def test_learning_rate_follows_the_schedule(stage3):
    """Six updates: one of warm-up, five of cosine."""
    angles = torch.arange(5) * torch.pi / 5
    cosine = (1 + angles.cos()) / 2
    expected = [1 / 2, *cosine.tolist()]
    assert stage3[3] == pytest.approx(expected, abs=1e-6)


# ---------------------------------------------------------------- one model


@pytest.fixture
def model(stage3):
    torch.manual_seed(0)
    model = MODELS.build(stage3[1].model)
    model.init_weights()
    return model.train()


@pytest.fixture
def samples(stage3):
    """One batch as the loader gives it."""
    runner = stage3[0]
    batch = next(iter(runner.train_dataloader))
    return runner.model.data_preprocessor(batch, training=True)


def test_one_pass_of_the_encoder_and_one_of_the_head_per_view(model, samples):
    """Batch norm sees the views one by one."""
    seen = {'encoder': [], 'head': []}
    model.backbone.register_forward_hook(
        lambda module, inputs, _: seen['encoder'].append(len(inputs[0]))
    )
    model.head.projector.register_forward_hook(
        lambda module, inputs, _: seen['head'].append(inputs[0][0])
    )
    model(**samples, mode='loss')['loss'].backward()
    assert seen['encoder'] == [2 * BATCH]
    assert [len(feats) for feats in seen['head']] == [BATCH, BATCH]
    views = samples['inputs']
    for view, feats in zip(views, seen['head'], strict=True):
        tokens = model.backbone.patch_embed(view)[0]
        tokens = torch.cat(
            [model.backbone.cls_token.expand(BATCH, -1, -1), tokens], 1
        )
        tokens = tokens + model.backbone.pos_embed
        for layer in model.backbone.layers:
            tokens = layer(tokens)
        mean_patch = model.backbone.ln1(tokens)[:, 1:].mean(dim=1)
        torch.testing.assert_close(feats, mean_patch, rtol=1e-4, atol=1e-5)


def test_features_come_from_the_averaged_encoder(model):
    images = torch.randn(3, 3, SIZE, SIZE)
    model.eval()
    with torch.no_grad():
        for param in model.encoder_ema.parameters():
            param += 0.1 * torch.randn_like(param)
        feats = model(images)
        expected = model.neck(model.encoder_ema(images))[-1]
        own = model.neck(model.backbone(images))[-1]
    assert feats.shape == (3, WIDTH)
    assert torch.equal(feats, expected) and not torch.equal(feats, own)
    assert torch.equal(model.extract_feat(images)[-1], expected)
    assert torch.equal(model.extract_feat(images, 'pre_logits'), expected)
    assert model.extract_feat(images, 'backbone')[-1].dim() == 4


def test_averaged_encoder_is_a_plain_backbone(stage3, model, tmp_path):
    """MMPretrain's own initialisation takes it out of a checkpoint."""
    with torch.no_grad():
        for param in model.encoder_ema.parameters():
            param += 1
    path = tmp_path / 'maect.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    start = dict(
        type='Pretrained', checkpoint=str(path), prefix='encoder_ema.'
    )
    backbone = MODELS.build(dict(stage3[1].model.backbone, init_cfg=start))
    backbone.init_weights()
    assert_same_tensors(
        dict(backbone.state_dict()), dict(model.encoder_ema.state_dict())
    )


def test_there_are_no_classes_to_predict(model):
    with pytest.raises(RuntimeError, match='features, not classes'):
        model(torch.randn(1, 3, SIZE, SIZE), mode='predict')


# -------------------------------------------------------------------- resume


@pytest.mark.onedl
def test_resumed_run_equals_the_uninterrupted_one(
    images, stage2, stage3, tmp_path
):
    """Bit by bit: weights, averages, queue, pointer, draws, optimizer."""
    expected, done, _, _ = stage3
    cfg = stage3_config(images, tmp_path, stage2[1])
    cfg.resume, cfg.load_from = True, f'{done.work_dir}/epoch_1.pth'
    seen = States()
    resumed = train(cfg, seen)
    assert len(seen.states) == 1 + 3
    half = load_tensors(cfg.load_from)['state_dict']
    final = load_tensors(f'{done.work_dir}/epoch_2.pth')
    for part in ('encoder_ema', 'head.target_projector', 'head.queue'):
        kept = [name for name in half if name.startswith(part)]
        assert kept
        for name in kept:
            assert torch.equal(seen.states[0][name], half[name]), name
        # and it moved since: the test can fail
        moved = (
            not torch.equal(half[name], final['state_dict'][name])
            for name in kept
        )
        assert any(moved), part
    assert half['head.queue.pointer'] != 0
    assert_same_tensors(weights(resumed), weights(expected))
    again = load_tensors(tmp_path / 'epoch_2.pth')
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        assert_same_tensors(again[part], final[part], part)


# -------------------------------------------------------------------- errors


def set_up(model, **changes) -> SimpleNamespace:
    """What the check sees of a runner, with something changed."""
    found = dict(batch_size=BATCH, drop_last=True, count=1, load_from='x')
    found.update(changes)
    return SimpleNamespace(
        model=model,
        train_dataloader=SimpleNamespace(
            batch_size=found['batch_size'],
            drop_last=found['drop_last'],
            dataset=range(24),
        ),
        optim_wrapper=SimpleNamespace(_accumulative_counts=found['count']),
        _load_from=found['load_from'],
        iter=0,
    )


@pytest.mark.parametrize(
    'changes, words',
    [
        (
            dict(batch_size=5),
            r'queue.size \(48\) .* global batch \(5 = ',
        ),
        (dict(drop_last=False), 'train_dataloader.drop_last must be True'),
        (dict(count=2), 'accumulative_counts must be 1, got 2.*batch norm'),
        (dict(load_from=None), 'set load_from to the checkpoint of the stage'),
    ],
)
def test_bad_set_up_names_the_keys(model, changes, words):
    hook = MAECTCheckHook()
    hook.before_train(set_up(model))
    with pytest.raises(ValueError, match=words):
        hook.before_train(set_up(model, **changes))


def test_fewer_samples_than_neighbours_says_so(model):
    hook = MAECTCheckHook()
    model.head.queue.topk = 23  # 24 samples, one is the sample itself
    hook.before_train(set_up(model))
    model.head.queue.topk = 24
    with pytest.raises(ValueError, match=r'24 samples, fewer .*topk \(24\)'):
        hook.before_train(set_up(model))


@pytest.mark.skipif(torch.cuda.is_available(), reason='it would work')
def test_synchronised_batch_norm_without_cuda_says_so(model):
    model.head = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model.head)
    with pytest.raises(ValueError, match='sync_bn.* needs CUDA'):
        MAECTCheckHook().before_train(set_up(model))


def test_checks_come_before_training(images, stage2, tmp_path):
    """Through config and runner: no iteration, no checkpoint."""
    cfg = stage3_config(images, tmp_path, stage2[1])
    cfg.optim_wrapper.accumulative_counts = 2
    cfg.pop('published_batch')  # as where rates were made to follow
    seen = States()
    with pytest.raises(ValueError, match='accumulative_counts'):
        train(cfg, seen)
    assert not hasattr(seen, 'states')
    assert not list(tmp_path.glob('*.pth'))


@pytest.mark.parametrize(
    'changes, words',
    [
        (
            {'head.projector.in_channels': 20},
            f'in_channels is 20, the width of model.backbone is {WIDTH}',
        ),
        ({'encoder_decay': 2}, r'model.encoder_decay must lie in \[0'),
    ],
)
def test_bad_settings_name_the_key(stage3, changes, words):
    cfg = Config(dict(model=stage3[1].model.to_dict()))
    cfg.merge_from_dict({f'model.{key}': v for key, v in changes.items()})
    with pytest.raises(ValueError, match=words):
        MODELS.build(cfg.model)


def test_stage_3_refuses_a_masked_autoencoder(model, mae):
    with pytest.raises(ValueError, match='holds no head .*stage-2 config'):
        model.load_state_dict(load_tensors(mae)['state_dict'], strict=False)


@pytest.mark.parametrize(
    'name, words',
    [
        ('backbone.layers.1.ffn.layers.1.weight', 'here'),
        ('head.predictor.fc0.weight', 'here'),
        ('head.queue.feats', 'here'),
        ('backbone.ln1.bias', 'is missing'),
        ('head.queue.pointer', 'is missing'),
    ],
)
def test_weights_of_another_architecture_are_refused(model, name, words):
    """MMEngine would train on noise instead."""
    state = dict(model.state_dict())
    if words == 'here':
        state[name] = torch.zeros(3, 3)
    else:
        del state[name]
    with pytest.raises(ValueError, match=f'architecture .{name}.*{words}'):
        model.load_state_dict(state, strict=False)


def test_other_models_are_refused():
    with pytest.raises(TypeError, match="model.type='MAECT', got Linear"):
        unwrap(torch.nn.Linear(1, 1), MAECT)
