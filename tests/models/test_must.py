"""The algorithm: one step, what it may see, and whole runs bit for bit."""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.runner import load_checkpoint
from mmpretrain import ImageClassificationInferencer, get_model
from mmpretrain.registry import MODELS, TRANSFORMS
from mmpretrain.structures import DataSample

from must_mm.checkpoints.plain import load_tensors
from must_mm.models.masked_view import MaskedView
from tests.tiny import (
    BETTER_LABELS,
    CLASSES,
    PATCH,
    SIZE,
    TEST_PIPELINE,
    WIDTH,
    assert_same_tensors,
    build,
    launch,
    tiny_config,
    train,
    weights,
)


@pytest.fixture
def model(config):
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    with torch.no_grad():  # student and teacher differ
        for param in model.backbone.parameters():
            param += 0.02 * torch.randn_like(param)
        model.masking.token += 1
    return model.train()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    weak, strong = torch.randn(2, 4, 3, SIZE, SIZE, generator=generator)
    mask = torch.rand(4, 4, 4, generator=generator) < 0.4
    assert mask.flatten(1).any(1).all() and not mask.flatten(1).all(1).any()
    return [weak, strong], [DataSample().set_mask(m) for m in mask]


def pixels_of(samples):
    """The mask of a batch on the grid of pixels, (B, 1, H, W)."""
    mask = torch.stack([sample.mask for sample in samples]).bool()
    return mask, mask.repeat_interleave(PATCH, 1).repeat_interleave(
        PATCH, 2
    ).unsqueeze(1)


# ------------------------------------------------------------------ one step


def test_terms_by_the_equations(model, batch):
    """Every term again, from the parts and the equations of Sec. 3.

    Tolerance 1e-5: float32, sums over some thousand pixels.
    """
    (weak, strong), samples = batch
    losses = model.loss([weak, strong], samples)
    assert set(losses) == {
        'loss_st',
        'loss_fair',
        'loss_mim',
        'loss_align',
        'conf_ratio',
        'teacher_confidence',
    }
    mask, pixels = pixels_of(samples)
    with torch.no_grad():
        # masked patches all look alike to the student
        embedded, _ = model.backbone.patch_embed(strong)
        token = model.masking.token
        x = torch.where(mask.flatten(1).unsqueeze(-1), token, embedded)
        x = torch.cat([model.backbone.cls_token.expand(4, -1, -1), x], 1)
        x = model.backbone.pre_norm(x + model.backbone.pos_embed)
        for layer in model.backbone.layers:
            x = layer(x)
        proj = model.neck.proj
        g = F.normalize(model.neck.ln_post(x[:, 0]) @ proj, dim=-1)
        p = model.ln_patch(x[:, 1:])
        local = F.normalize(p @ proj, dim=-1)
        logits = model.head.logit_scale * g @ model.head.classifier
        q = model.teacher(weak).softmax(1)
        sure = q.max(1).values > model.head.threshold
        decoded = model.decoder(p.transpose(1, 2).reshape(4, -1, 4, 4))
        distance = (local - g.unsqueeze(1)).pow(2).sum(-1)
        expected = dict(
            loss_st=F.cross_entropy(logits[sure], q.argmax(1)[sure]),
            loss_fair=-logits.softmax(1).mean(0).log().mean(),
            loss_mim=((decoded - strong).abs() * pixels).sum()
            / pixels.sum()
            / 3,
            loss_align=0.2 * distance[mask.flatten(1)].mean(),
            conf_ratio=sure.float().mean(),
        )
    assert 0 < sure.sum()
    for name, value in expected.items():
        torch.testing.assert_close(
            losses[name].detach(),
            value,
            rtol=1e-5,
            atol=1e-6,
            msg=lambda text, name=name: f'{name}: {text}',
        )


def test_masked_pixels_do_not_leak(model, batch):
    """Pixels under the mask change no feature, logit or classifier loss."""
    (weak, strong), samples = batch
    mask, pixels = pixels_of(samples)
    changed = torch.where(pixels, torch.full_like(strong, 9.0), strong)
    assert not torch.equal(changed, strong)

    seen = []
    model.head.register_forward_hook(
        lambda _module, inputs, logits: seen.append((inputs[0][-1], logits))
    )
    model.neck.register_forward_hook(
        lambda _module, inputs, _out: seen.append(inputs[0][-1])
    )
    first = model.loss([weak, strong], samples)
    count = len(seen)
    second = model.loss([weak, changed], samples)
    assert_same_tensors(seen[count:], seen[:count])
    for name in ('loss_st', 'loss_fair', 'loss_align'):
        assert torch.equal(first[name], second[name]), name
    # the target of the reconstruction did change: the test can fail
    assert not torch.equal(first['loss_mim'], second['loss_mim'])


def test_reconstruction_counts_masked_pixels_only(model, batch):
    """Without a mask on some patch, its pixels are no target."""
    (weak, strong), samples = batch
    mask, _ = pixels_of(samples)
    image = strong.clone().requires_grad_()
    _, patches = model.masked_features(strong, mask)
    loss = model.mim_head.loss(model.decoder(patches), image, mask)
    loss.backward()
    touched = image.grad.abs().sum(1, keepdim=True) > 0
    assert torch.equal(touched, pixels_of(samples)[1])


def test_teacher_sees_the_whole_weak_view(model, batch):
    (weak, strong), samples = batch
    seen = []
    model.teacher.backbone.patch_embed.register_forward_hook(
        lambda _module, inputs, output: seen.append((inputs[0], output[0]))
    )
    model.loss([weak, strong], samples)
    ((image, patches),) = seen
    assert torch.equal(image, weak)
    assert not patches.requires_grad
    model.masking.token.data.fill_(float('nan'))
    assert model.teacher_probs(weak).isfinite().all()


def test_gradients_reach_every_student_parameter(model, batch):
    losses = model.loss(*batch)
    sum(value for name, value in losses.items() if 'loss' in name).backward()
    without = {
        name
        for name, param in model.named_parameters()
        if param.grad is None and not name.startswith('teacher.')
    }
    assert not without
    assert all(p.grad is None for p in model.teacher.parameters())


def test_self_training_alone(config, batch):
    """No masking: two terms, no mask needed, no parts for masks."""
    config.merge_from_dict(
        {
            'model.decoder': None,
            'model.mim_head': None,
            'model.align_loss': None,
        }
    )
    model = MODELS.build(config.model)
    model.init_weights()
    losses = model.loss(batch[0], [DataSample() for _ in range(4)])
    assert {n for n in losses if 'loss' in n} == {'loss_st', 'loss_fair'}
    assert not any('masking' in n for n, _ in model.named_parameters())


@pytest.mark.parametrize('block', [1, 2], ids=['patches', 'blocks'])
def test_masked_blocks_alone_give_the_same_loss(config, block):
    """The decoder sees each patch alone: the others need not be decoded.

    Tolerance: float32, another order of the same sums.
    """
    config.model.mim_head.patch_size = block * PATCH
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    views = list(torch.randn(2, 4, 3, SIZE, SIZE))
    mask = torch.rand(4, 4 // block, 4 // block) < 0.4
    mask[:, 0, 0], mask[:, 1, 1] = True, False
    samples = [DataSample().set_mask(m) for m in mask]
    found, gradients = {}, {}
    for decode in ('all', 'masked'):
        model.decode = decode
        found[decode] = model.loss(views, samples)
        model.zero_grad()
        (found[decode]['loss_mim'] + found[decode]['loss_align']).backward()
        gradients[decode] = {
            n: p.grad for n, p in model.named_parameters() if p.requires_grad
        }
    torch.testing.assert_close(found['masked'], found['all'])
    torch.testing.assert_close(gradients['masked'], gradients['all'])


def test_separate_view_learns_labels_from_whole_images(model, batch):
    """Labels as without masks, the other terms as published."""
    published = model.loss(*batch)
    model.labels_unmasked = True
    found = model.loss(*batch)
    strong = batch[0][1]
    whole = model.head.loss(
        model.see(strong), batch[1], model.teacher_probs(batch[0][0])
    )
    for name in ('loss_st', 'loss_fair'):
        assert torch.equal(found[name], whole[name])
        assert not torch.equal(found[name], published[name])
    for name in ('loss_mim', 'loss_align'):
        assert torch.equal(found[name], published[name])


def test_masked_view_off_is_self_training_alone(config, batch):
    """Whatever else is configured."""
    config.model.masked_view = 'off'
    model = MODELS.build(config.model)
    model.init_weights()
    losses = model.loss(batch[0], [DataSample() for _ in range(4)])
    assert {n for n in losses if 'loss' in n} == {'loss_st', 'loss_fair'}
    assert model.decoder is None and model.align_loss is None
    assert not any('masking' in n for n, _ in model.named_parameters())


def test_masked_view_is_one_of_three(config):
    config.model.masked_view = 'both'
    with pytest.raises(ValueError, match=r"model\.masked_view.*'both'"):
        MODELS.build(config.model)


def test_mask_finer_than_the_map_names_the_keys(config):
    config.model.mim_head.patch_size = PATCH // 2
    model = MODELS.build(config.model)
    fine = DataSample().set_mask(torch.ones(8, 8))
    image = torch.zeros(1, 3, SIZE, SIZE)
    view = MaskedView(
        image,
        fine.mask[None].bool(),
        (),
        torch.zeros(1, WIDTH, 4, 4),
        torch.nn.Identity(),
    )
    with pytest.raises(
        ValueError,
        match=r"model\.decode='masked'.*8 cells.*4 patches.*model_patch_size",
    ):
        model.reconstruct(view)
    model.decode = 'all'
    assert model.reconstruct(view)['loss_mim'].isfinite()


# ---------------------------------------------------------------- prediction


def test_predict_with(model):
    images = torch.randn(3, 3, SIZE, SIZE)
    model.eval()
    with torch.no_grad():
        found = {}
        for who in ('student', 'teacher'):
            model.predict_with = who
            scores = (
                model.predict(images)
                if who == 'student'
                else model(images, mode='predict')
            )
            found[who] = torch.stack([s.pred_score for s in scores])
            torch.testing.assert_close(
                found[who], model(images).softmax(1), rtol=1e-6, atol=1e-7
            )
        model.predict_with = 'student'
        assert torch.equal(
            model.teacher(images),
            model.teacher.head(model.teacher.extract_feat(images)),
        )
    assert not torch.allclose(found['student'], found['teacher'])


def test_predict_method_uses_the_configured_network(model):
    """``predict`` itself, as MMPretrain's tools may call it."""
    images = torch.randn(3, 3, SIZE, SIZE)
    model.eval()
    model.predict_with = 'teacher'
    with torch.no_grad():
        found = torch.stack([s.pred_score for s in model.predict(images)])
        expected = model.teacher(images).softmax(1)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def test_predict_with_invalid_names_the_key(config):
    config.model.predict_with = 'ema'
    with pytest.raises(ValueError, match=r"model\.predict_with.*'ema'"):
        MODELS.build(config.model)


@pytest.fixture
def checkpoint(model, config, tmp_path):
    """A checkpoint whose student and teacher differ."""
    path = tmp_path / 'model.pth'
    meta = dict(dataset_meta=dict(classes=CLASSES))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return str(path)


def prepared(array):
    """An RGB array as the validation pipeline and preprocessor see it."""
    results = dict(img=array[:, :, ::-1].copy(), img_shape=array.shape[:2])
    for transform in TEST_PIPELINE[1:]:
        results = TRANSFORMS.build(transform)(results)
    return results


@pytest.mark.parametrize('who', ['student', 'teacher'])
def test_inferencer_on_an_array(config, checkpoint, who):
    config.model.predict_with = who
    inferencer = ImageClassificationInferencer(config, pretrained=checkpoint)
    rng = torch.Generator().manual_seed(0)
    array = torch.randint(0, 256, (40, 50, 3), generator=rng).numpy()
    array = array.astype('uint8')
    (result,) = inferencer(array)
    net = inferencer.model
    # arrays are BGR for MMPretrain
    images = net.data_preprocessor(
        pseudo_collate([prepared(array[:, :, ::-1])])
    )['inputs']
    with torch.no_grad():
        net = net.teacher if who == 'teacher' else net
        scores = net(images).softmax(1)[0]
    assert result['pred_class'] == CLASSES[int(scores.argmax())]
    torch.testing.assert_close(
        torch.tensor(result['pred_scores']), scores, rtol=1e-5, atol=1e-6
    )


def test_inferencer_takes_a_built_model(config, checkpoint):
    model = get_model(config, pretrained=checkpoint)
    (result,) = ImageClassificationInferencer(model)(
        torch.zeros(40, 40, 3, dtype=torch.uint8).numpy()
    )
    assert result['pred_class'] in CLASSES


def test_test_time_augmentation_averages_the_scores(config, images):
    torch.manual_seed(0)
    tta = MODELS.build(dict(type='AverageClsScoreTTA', module=config.model))
    tta.init_weights()
    tta.eval()
    augment = TRANSFORMS.build(
        dict(
            type='TestTimeAug',
            transforms=[
                [TEST_PIPELINE[1]],
                [
                    dict(type='CenterCrop', crop_size=SIZE),
                    dict(type='CenterCrop', crop_size=SIZE - 4),
                    dict(type='Resize', scale=SIZE),
                ],
                [dict(type='PackInputs')],
            ],
        )
    )
    # two crops of one image
    load = TRANSFORMS.build(TEST_PIPELINE[0])
    results = augment(
        load(dict(img_path=str(images / 'images' / 'ant' / '0.png')))
    )
    with torch.no_grad():
        (merged,) = tta.test_step(pseudo_collate([results]))
        scores = [
            tta.module.test_step(dict(inputs=[image], data_samples=[sample]))[
                0
            ].pred_score
            for image, sample in zip(
                results['inputs'], results['data_samples'], strict=True
            )
        ]
    assert len(scores) == 3
    torch.testing.assert_close(merged.pred_score, sum(scores) / 3)


# ---------------------------------------------------------------- whole runs


class Scalars(Hook):
    """Keeps what is logged in every iteration."""

    def __init__(self):
        self.seen = []

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ):
        self.seen.append({k: v.item() for k, v in outputs.items()})


@pytest.mark.parametrize(
    'changes', [{}, BETTER_LABELS], ids=['published', 'better_labels']
)
def test_training_labels_change_no_weight(images, tmp_path, changes):
    """True labels, permuted ones, none: the weights are equal bit for bit.

    Through the whole pipeline: LoadImageFromFile, SeedSample, MultiView,
    MUSTMaskGenerator, PackInputs.
    """
    final, logs = {}, {}
    for file in ('labels.txt', 'permuted.txt', 'names.txt'):
        cfg = tiny_config(
            images,
            tmp_path / file,
            {'val_cfg': None, **changes},
            ann_file=file,
        )
        cfg.val_dataloader = cfg.val_evaluator = None
        scalars = Scalars()
        final[file] = weights(train(cfg, scalars))
        logs[file] = scalars.seen
    assert_same_tensors(final['permuted.txt'], final['labels.txt'])
    assert_same_tensors(final['names.txt'], final['labels.txt'])

    # the labels did arrive, and are logged where they exist
    accuracy = {
        file: [step.pop('pseudo_label_acc', None) for step in log]
        for file, log in logs.items()
    }
    assert accuracy['labels.txt'] != accuracy['permuted.txt']
    assert accuracy['names.txt'] == [None] * 9
    assert all(0 <= step['conf_ratio'] <= 1 for step in logs['names.txt'])
    assert any(step['conf_ratio'] > 0 for step in logs['names.txt'])
    assert logs['labels.txt'] == logs['permuted.txt'] == logs['names.txt']


class Interrupt(Hook):
    """Ctrl-C in the middle of an epoch."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 5:  # within the second epoch
            raise KeyboardInterrupt


@pytest.mark.onedl
@pytest.mark.parametrize(
    'changes',
    [
        {},
        {'train_dataloader.num_workers': 2},
        {
            'train_dataloader.num_workers': 2,
            'model.head.fairness.moving_average': True,
            # four iterations an epoch, so that no checkpoint falls between
            # two optimizer steps: accumulated gradients are not saved
            'train_dataloader.batch_size': 6,
            'optim_wrapper.accumulative_counts': 2,
        },
        BETTER_LABELS,
    ],
    ids=[
        'no_workers',
        'two_workers',
        'two_workers_accumulation',
        'better_labels',
    ],
)
def test_resume_is_exact(images, tmp_path, changes):
    """Interrupted in epoch 2 of 3 and resumed, against uninterrupted."""
    whole = tiny_config(images, tmp_path / 'whole', changes)
    train(whole)

    broken = tiny_config(images, tmp_path / 'broken', changes)
    runner = build(broken, Interrupt())
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    assert (
        (tmp_path / 'broken' / 'last_checkpoint')
        .read_text()
        .endswith('epoch_1.pth')
    )
    broken.dump(tmp_path / 'broken.py')
    torch.manual_seed(99)  # another process has other random states
    launch('train', tmp_path / 'broken.py', '--resume').train()

    expected = load_tensors(tmp_path / 'whole' / 'epoch_3.pth')
    found = load_tensors(tmp_path / 'broken' / 'epoch_3.pth')
    names = expected['state_dict']
    assert any(n.startswith('teacher.') for n in names)
    for part in (
        'state_dict',
        'optimizer',
        'param_schedulers',
        'ema_teacher',
    ):
        assert_same_tensors(found[part], expected[part], part)
    first = load_tensors(tmp_path / 'whole' / 'epoch_2.pth')['state_dict']
    assert any(not torch.equal(first[n], names[n]) for n in names)


def test_resume_without_a_checkpoint_starts(images, tmp_path):
    """As a job does that is always started with ``--resume``."""
    changes = {'train_cfg.max_epochs': 1}
    fresh = train(tiny_config(images, tmp_path / 'fresh', changes))
    again = tiny_config(images, tmp_path / 'again', changes)
    again.dump(tmp_path / 'again.py')
    runner = launch('train', tmp_path / 'again.py', '--resume')
    runner.train()
    assert_same_tensors(weights(runner), weights(fresh))


def test_rates_fall_to_a_floor_per_group(config):
    """Cosine per iteration; layer decay scales rate and floor alike.

    Tolerance: the scheduler multiplies nine factors in double precision.
    """
    config.param_scheduler.eta_min_ratio = 0.2

    class Rates(Hook):
        seen = []

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            groups = runner.optim_wrapper.param_groups
            self.seen.append([group['lr'] for group in groups])

    train(config, Rates())
    base = torch.tensor(Rates.seen[0], dtype=torch.float64)
    # two blocks: four depths
    depths = 1e-3 * 0.65 ** torch.arange(3, -1, -1, dtype=torch.float64)
    for rate in base:
        assert torch.isclose(rate, depths, rtol=1e-9, atol=0).any()
    assert torch.isclose(base[:, None], depths, rtol=1e-9, atol=0).any(0).all()
    assert len(Rates.seen) == 9
    for t, rates in enumerate(Rates.seen):
        cosine = (1 + torch.cos(torch.tensor(torch.pi * t / 9).double())) / 2
        torch.testing.assert_close(
            torch.tensor(rates, dtype=torch.float64),
            base * (0.2 + 0.8 * cosine),
            rtol=1e-6,
            atol=0,
        )


# ------------------------------------------------------------------ bad input


def test_samples_without_masks_name_the_pipeline(model, batch):
    with pytest.raises(ValueError, match=r'train_dataloader\.dataset\.pipel'):
        model.loss(batch[0], [DataSample() for _ in range(4)])


@pytest.mark.parametrize('missing', ['decoder', 'mim_head'])
def test_decoder_and_its_loss_belong_together(config, missing):
    config.model[missing] = None
    with pytest.raises(ValueError, match='model.decoder and model.mim_head'):
        MODELS.build(config.model)


@pytest.mark.parametrize('part', ['backbone', 'head'])
def test_no_model_without(config, part):
    config.model[part] = None
    with pytest.raises(TypeError, match=f'model.{part} must be dict'):
        MODELS.build(config.model)


def test_one_view_names_the_pipeline(config):
    pipeline = config.train_dataloader.dataset.pipeline
    del pipeline[2]
    pipeline[2:2] = TEST_PIPELINE[1:3]
    with pytest.raises(ValueError, match='MultiView'):
        train(config)


def other_architecture(state: dict, kind: str) -> dict:
    state = copy.copy(state)
    if kind == 'missing':
        del state['neck.proj']
    elif kind == 'shape':
        state['head.classifier'] = state['head.classifier'][:, :-1]
    elif kind == 'unknown':
        state['backbone.layers.2.ln1.weight'] = torch.ones(32)
    return state


@pytest.mark.parametrize(
    'kind, message',
    [
        ('missing', 'neck.proj is missing'),
        ('shape', r'head\.classifier is \(16, 3\), here \(16, 4\)'),
        ('unknown', r'backbone\.layers\.2\.ln1\.weight is not in the model'),
    ],
)
def test_checkpoint_of_another_architecture(config, tmp_path, kind, message):
    state = MODELS.build(config.model).state_dict()
    path = tmp_path / 'other.pth'
    torch.save(dict(state_dict=other_architecture(state, kind)), path)
    config.load_from = str(path)
    with pytest.raises(ValueError, match=f'{message}.*model.backbone'):
        train(config)


def test_checkpoint_and_config_of_an_earlier_version(config, model, tmp_path):
    """What stands in masked places was called ``mask_token``."""
    config.model.train_only = ['LayerNorm', 'mask_token']
    expected = model.state_dict()
    earlier = {
        name.replace('masking.', 'mask_token.'): value
        for name, value in expected.items()
    }
    assert 'mask_token.token' in earlier
    path = tmp_path / 'earlier.pth'
    torch.save(dict(state_dict=earlier), path)
    loaded = MODELS.build(config.model)
    assert loaded.masking.token.requires_grad
    load_checkpoint(loaded, str(path), strict=True)
    assert_same_tensors(dict(loaded.state_dict()), dict(expected))


def test_plain_classifier_fills_student_and_teacher(config, model):
    plain = {
        name: value
        for name, value in model.state_dict().items()
        if name.split('.')[0] in ('backbone', 'neck', 'head')
    }
    fresh = MODELS.build(config.model)
    fresh.load_state_dict(plain, strict=False)
    for name, value in plain.items():
        assert torch.equal(fresh.state_dict()[name], value)
        assert torch.equal(fresh.state_dict()[f'teacher.{name}'], value)


@pytest.mark.parametrize(
    'key, changes',
    [
        ('model.decoder.encoder_stride', {'model.decoder.encoder_stride': 4}),
        ('model.mim_head.patch_size', {'model.mim_head.patch_size': 4}),
    ],
)
def test_decoder_of_another_patch_size_names_the_key(
    config, batch, key, changes
):
    config.merge_from_dict(changes)
    with pytest.raises(ValueError, match=key):
        MODELS.build(config.model).loss(*batch)
