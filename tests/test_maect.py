"""The algorithm: its stages, what trains, and runs resumed bit for bit."""

import pytest
import torch
from mmengine.hooks import Hook
from mmpretrain.registry import MODELS
from tiny import (
    BATCH,
    SIZE,
    WIDTH,
    assert_same_tensors,
    build,
    train,
    weights,
)
from tiny_maect import DEPTH, maect_config, write_mae

from must_mm.checkpoint import load_tensors

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


@pytest.fixture
def stage3_config(images, stage2, tmp_path):
    return maect_config(
        STAGE3, images, tmp_path / 'stage3', stage2[1] / 'epoch_2.pth'
    )


class States(Hook):
    """The whole model before training and after every iteration.

    It runs after the hook that updates the averages.
    """

    priority = 'LOW'

    def before_train(self, runner):
        self.states = [weights(runner)]

    def after_train_iter(self, runner, batch_idx, **kwargs):
        self.states.append(weights(runner))


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
    trained = {
        group['param_name'] for group in runner.optim_wrapper.param_groups[:-1]
    }
    assert trained == {
        name
        for name, _ in runner.model.named_parameters()
        if name.startswith('head.')
    }
    model = runner.model.train()
    assert model.head.training and not model.backbone.training
    assert model.encoder_ema is None
    assert model.head.queue.sample_ids.unique().tolist() == list(range(24))


def test_stage_3_starts_from_the_whole_head(stage3_config, stage2):
    """Encoder, projector, predictor and queue; averages start as copies."""
    seen = States()
    train(stage3_config, seen)
    start, expected = seen.states[0], weights(stage2[0])
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


def test_stage_3_tunes_the_upper_half(stage3_config):
    seen = States()
    runner = train(stage3_config, seen)
    first, last = seen.states[0], seen.states[-1]
    for part in ('cls_token', 'pos_embed', 'patch_embed', 'layers.0.'):
        assert same(first, last, f'backbone.{part}') == {True}, part
    for layer in range(DEPTH):
        name = f'backbone.layers.{layer}.ffn.layers.1.weight'
        assert torch.equal(first[name], last[name]) == (layer < DEPTH // 2)
    assert same(first, last, 'backbone.ln1.') == {False}
    assert same(first, last, 'head.projector.fc') == {False}
    assert not runner.model.encoder_ema.training


def test_groups_of_stage_3_by_the_formulas(stage3_config):
    """Block i: 0.65^(L - i); the last norm and the head: 1."""
    stage3_config.optim_wrapper.paramwise_cfg.head_lr = 0.5
    runner = build(stage3_config)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    base = stage3_config.optim_wrapper.optimizer.lr
    seen = set()
    for group in runner.optim_wrapper.optimizer.param_groups:
        name, (param,) = group['param_name'], group['params']
        part = name.split('.')
        if part[0] == 'head':
            lr, decay = 0.5, 1e-5
        elif part[1] == 'layers':
            lr, decay = base * 0.65 ** (DEPTH - int(part[2])), 0.05
        else:
            assert part[1] == 'ln1'
            lr, decay = base, 0.05
        assert group['lr'] == pytest.approx(lr), name
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


def test_averages_follow_every_step(stage3_config):
    """Both averages again, from the weights after each step."""
    stage3_config.model.encoder_decay = 0.8
    seen = States()
    runner = train(stage3_config, seen)
    statistics = {name for name, _ in runner.model.named_buffers()}
    assert len(seen.states) == 1 + 6
    for before, after in zip(seen.states, seen.states[1:], strict=False):
        for average, source, keep in (
            ('encoder_ema.', 'backbone.', 0.8),
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


def test_learning_rate_follows_the_schedule(stage3_config):
    """Six updates: one of warm-up, five of cosine."""

    class Rates(Hook):
        priority = 'VERY_HIGH'  # before the next rate is set
        seen = []

        def after_train_iter(self, runner, batch_idx, **kwargs):
            group = runner.optim_wrapper.optimizer.param_groups[-1]
            self.seen.append(group['lr'] / group['initial_lr'])

    train(stage3_config, Rates())
    angles = torch.arange(5) * torch.pi / 5
    cosine = (1 + angles.cos()) / 2
    assert Rates.seen == pytest.approx([1 / 2, *cosine.tolist()], abs=1e-6)


# ---------------------------------------------------------------- one model


@pytest.fixture
def model(stage3_config):
    torch.manual_seed(0)
    model = MODELS.build(stage3_config.model)
    model.init_weights()
    return model.train()


@pytest.fixture
def samples(images, stage3_config):
    """One batch as the loader gives it."""
    runner = build(stage3_config)
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


def test_averaged_encoder_is_a_plain_backbone(stage3_config, model, tmp_path):
    """MMPretrain's own initialisation takes it out of a checkpoint."""
    with torch.no_grad():
        for param in model.encoder_ema.parameters():
            param += 1
    path = tmp_path / 'maect.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    start = dict(
        type='Pretrained', checkpoint=str(path), prefix='encoder_ema.'
    )
    backbone = MODELS.build(dict(stage3_config.model.backbone, init_cfg=start))
    backbone.init_weights()
    assert_same_tensors(
        dict(backbone.state_dict()), dict(model.encoder_ema.state_dict())
    )


def test_there_are_no_classes_to_predict(model):
    with pytest.raises(RuntimeError, match='features, not classes'):
        model(torch.randn(1, 3, SIZE, SIZE), mode='predict')


# -------------------------------------------------------------------- resume


@pytest.mark.onedl
def test_resumed_run_equals_the_uninterrupted_one(stage3_config):
    """Bit by bit: weights, averages, queue, pointer, draws, optimizer."""
    expected = train(stage3_config)
    final = load_tensors(f'{stage3_config.work_dir}/epoch_2.pth')
    stage3_config.resume = True
    stage3_config.load_from = f'{stage3_config.work_dir}/epoch_1.pth'
    seen = States()
    resumed = train(stage3_config, seen)
    half = load_tensors(stage3_config.load_from)['state_dict']
    for name in ('encoder_ema', 'head.target_projector', 'head.queue'):
        kept = [key for key in half if key.startswith(name)]
        assert kept
        for key in kept:
            assert torch.equal(seen.states[0][key], half[key]), key
        # and it moved since: the test can fail
        assert any(
            not torch.equal(half[k], final['state_dict'][k]) for k in kept
        )
    assert half['head.queue.pointer'] != 0
    assert_same_tensors(weights(resumed), weights(expected))
    again = load_tensors(f'{stage3_config.work_dir}/epoch_2.pth')
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        assert_same_tensors(again[part], final[part], part)


# -------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    'changes, words',
    [
        (
            {'train_dataloader.batch_size': 5},
            r'queue.size \(48\) .* global batch \(5 = ',
        ),
        (
            {'optim_wrapper.accumulative_counts': 2},
            'optim_wrapper.accumulative_counts must be 1, got 2.*batch norm',
        ),
        (
            {'model.head.queue.topk': 24},
            r'has 24 samples, fewer than model.head.queue.topk \(24\)',
        ),
        ({'train_dataloader.drop_last': False}, 'drop_last must be True'),
        (
            {'load_from': None},
            'set load_from to the checkpoint of the stage-2',
        ),
        (
            {'model.head.projector.in_channels': 20},
            f'in_channels is 20, the width of model.backbone is {WIDTH}',
        ),
        ({'model.encoder_decay': 2}, r'model.encoder_decay must lie in \[0'),
        (
            {'model.head.queue.size': 24},
            r'head.queue.feats is \(48, 16\), here \(24, 16\)',
        ),
    ],
)
def test_bad_set_up_says_so_before_training(stage3_config, changes, words):
    stage3_config.merge_from_dict(changes)
    with pytest.raises(ValueError, match=words):
        train(stage3_config)


def test_stage_3_refuses_a_masked_autoencoder(stage3_config, mae):
    stage3_config.load_from = str(mae)
    with pytest.raises(ValueError, match='holds no head .*stage-2 config'):
        train(stage3_config)


def test_stage_2_refuses_another_encoder(images, mae, tmp_path):
    cfg = maect_config(STAGE2, images, tmp_path, mae)
    cfg.model.backbone.arch.feedforward_channels = 48
    with pytest.raises(ValueError, match='another architecture.*ffn'):
        train(cfg)


def test_synchronised_batch_norm_without_cuda_says_so(stage3_config):
    runner = build(stage3_config)
    model = runner.model
    model.head = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model.head)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match='sync_bn.* needs CUDA'):
            runner.train()


def test_other_models_are_refused(config):
    config.custom_hooks.append(dict(type='MAECTAveragesHook'))
    with pytest.raises(TypeError, match="model.type='MAECT', got MUST"):
        train(config)
