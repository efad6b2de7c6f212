"""Mixed precision on any device."""

import pytest
import torch

from must_mm.engine.autocast import mixed_precision
from tests.tiny import build, train, weights


@pytest.fixture
def amp_config(config):
    config.optim_wrapper.type = 'AutocastOptimWrapper'
    config.train_cfg.max_epochs = 1
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    return config


def test_student_and_teacher_in_the_same_precision(amp_config):
    runner = build(amp_config)
    seen = {}

    def watch(name, model):
        def note(_module, _inputs, output):
            seen[name] = output.dtype

        model.backbone.layers[0].ffn.layers[0][0].register_forward_hook(note)

    watch('student', runner.model)
    watch('teacher', runner.model.teacher)
    runner.train()
    assert seen == dict.fromkeys(('student', 'teacher'), torch.bfloat16)
    assert {p.dtype for p in runner.model.parameters()} == {torch.float32}


def test_close_to_full_precision(amp_config):
    """bfloat16 keeps 8 bits: losses differ by less than a hundredth."""
    mixed = train(amp_config).message_hub
    amp_config.optim_wrapper.type = 'OptimWrapper'
    full = train(amp_config).message_hub
    for term in ('loss_st', 'loss_fair', 'loss_mim', 'loss_align'):
        a, b = (
            hub.get_scalar(f'train/{term}').data[0] for hub in (mixed, full)
        )
        assert len(a) == 3 and a == pytest.approx(b, rel=1e-2)
        assert (a != b).any()


def test_accumulation(amp_config):
    amp_config.optim_wrapper.accumulative_counts = 2
    before = weights(build(amp_config))
    after = weights(train(amp_config))
    assert any(not torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize(
    'gpu, has_it, kind',
    [
        (False, False, 'AutocastOptimWrapper'),
        (True, True, 'AutocastOptimWrapper'),
        (True, False, 'AmpOptimWrapper'),
    ],
)
def test_bfloat16_where_the_hardware_has_it(monkeypatch, gpu, has_it, kind):
    def supported(including_emulation):
        assert not including_emulation
        return has_it

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', supported)
    found = mixed_precision()
    assert found['type'] == kind
    assert found.get('loss_scale') == (
        'dynamic' if kind == 'AmpOptimWrapper' else None
    )


@pytest.mark.parametrize(
    'device, has_it, warns',
    [('cpu', False, True), ('cpu', True, False), ('mps', False, False)],
)
def test_a_processor_that_emulates_is_named(
    monkeypatch, device, has_it, warns
):
    said = []
    for name, value in dict(
        device_type=lambda: device,
        cpu_has_bfloat16=lambda: has_it,
        print_log=lambda text, *_: said.append(text),
    ).items():
        monkeypatch.setattr(f'must_mm.engine.autocast.{name}', value)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert mixed_precision() == dict(type='AutocastOptimWrapper')
    assert len(said) == warns and all('leave --amp out' in s for s in said)
