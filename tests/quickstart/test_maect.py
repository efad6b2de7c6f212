"""The MAE-CT quickstart without its training: configs, measures, picture."""

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from PIL import Image

from must_mm.quickstart.maect import (
    ENCODERS,
    METRICS,
    STAGES,
    draw_embedding,
    encode,
    measure,
    read_split,
    stage_options,
    table,
)
from must_mm.quickstart.target import write_digits
from must_mm.utils.paths import config_path


def config(name: str) -> Config:
    return Config.fromfile(config_path(f'mae_ct/{name}.py'))


@pytest.fixture(scope='module')
def models():
    """Untrained models of the three stages."""
    torch.manual_seed(0)
    found = {}
    for stage, name, _ in STAGES:
        found[stage] = MODELS.build(config(name).model)
        found[stage].init_weights()
    return found


def test_each_stage_loads_the_one_before(models):
    """And stage 3 the whole head; shapes and names fit."""
    for first, second in (('mae', 'stage2'), ('stage2', 'stage3')):
        state = models[first].state_dict()
        models[second].load_state_dict(dict(state), strict=False)
        for name, value in models[second].state_dict().items():
            if name in state:
                assert torch.equal(value, state[name]), name
        assert any(name.startswith('backbone.layers') for name in state)


def test_stages_are_chained(tmp_path):
    """Each starts from the last epoch of the one before."""
    options = stage_options(tmp_path, 3, dict(stage2=4))
    mae = config('quickstart_digits_mae').train_cfg.max_epochs
    assert 'load_from' not in options['mae']
    assert options['stage2']['load_from'].endswith(f'mae/epoch_{mae}.pth')
    assert options['stage3']['load_from'].endswith('stage2/epoch_4.pth')
    assert options['stage2']['param_scheduler.end'] == 4
    assert {found['randomness.seed'] for found in options.values()} == {3}
    for name in ('stage2', 'stage3'):  # the configs alone are chained as well
        start = config(f'quickstart_digits_{name}').load_from
        before = dict(stage2='mae', stage3='stage2')[name]
        epochs = config(f'quickstart_digits_{before}').train_cfg.max_epochs
        assert start.endswith(f'{before}/epoch_{epochs}.pth')


def test_features_are_those_of_the_named_encoder(models, tmp_path):
    """As the model itself sees images in validation."""
    model = models['stage3'].eval()
    with torch.no_grad():
        for param in model.encoder_ema.parameters():
            param += 0.01 * torch.randn_like(param)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'last.pth')
    images = torch.randint(0, 256, (5, 32, 32, 3), dtype=torch.uint8)
    found = encode(tmp_path / 'last.pth', ENCODERS['MAE-CT'][1], images)
    # images are loaded BGR
    batch = dict(inputs=list(images.flip(-1).permute(0, 3, 1, 2)))
    with torch.no_grad():
        expected = model(**model.data_preprocessor(batch))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_measures_tell_good_features_from_bad():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(200) % 10
    noise = torch.randn(200, 16, generator=generator)
    good = 10 * torch.eye(16)[labels] + 0.1 * noise
    perfect = measure(good[:100], labels[:100], good[100:], labels[100:])
    assert perfect == dict.fromkeys(METRICS, 1.0)
    chance = measure(noise[:100], labels[:100], noise[100:], labels[100:])
    assert all(value < 0.4 for value in chance.values())
    lines = table({'MAE': chance, 'MAE-CT': perfect}).splitlines()
    assert lines[-1].split() == ['MAE-CT', *(['100.0', '%'] * 4)]


def test_splits_and_picture(tmp_path):
    write_digits(tmp_path, 32)
    images, labels = read_split(tmp_path, 'val')
    assert images.shape == (200, 32, 32, 3)
    assert labels.unique().tolist() == list(range(10))
    features = images.flatten(1).float()[:, ::31]
    path = tmp_path / 'embedding.png'
    draw_embedding({'MAE': features, 'MAE-CT': features}, labels, path)
    assert Image.open(path).size == (1200, 600)
