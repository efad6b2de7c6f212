"""A config in a file names registered parts, and nothing that runs code."""

import pytest
import torch

from must_mm.weights.plain_config import check_types
from must_mm.weights.publish import publish
from must_mm.weights.start_file import load_classifier
from tests.tiny import build

pytestmark = pytest.mark.onedl


@pytest.mark.parametrize(
    'config',
    [
        dict(type='ImageClassifier', head=dict(type='PseudoLabelHead')),
        dict(pipeline=[dict(type='LoadImageFromFile')], other=(1, None)),
        dict(type='mmpretrain.QuickGELU', norm_cfg=dict(type='LN', eps=1e-5)),
    ],
)
def test_own_parts(config):
    check_types(config, 'x.pth')


@pytest.mark.parametrize(
    'name',
    ['os.system', 'mmengine.os.system', 'builtins.eval', '', None, ['eval']],
)
def test_others(name):
    with pytest.raises(ValueError, match='x.pth.*type=.*could run code'):
        check_types(dict(model=[dict(neck=dict(type=name))]), 'x.pth')


def evil(folder) -> dict:
    """A model whose neck is a call of ``os.mkdir``."""
    return dict(
        type='ImageClassifier',
        backbone=dict(type='VisionTransformer', arch='b'),
        neck=dict(type='os.mkdir', path=str(folder)),
        head=dict(type='PseudoLabelHead', num_classes=2, in_channels=4),
        data_preprocessor=dict(),
    )


def test_classifier_of_others_runs_no_code(tmp_path):
    """The registry would import and call ``os.mkdir``."""
    path, folder = tmp_path / 'evil.pth', tmp_path / 'made'
    config = dict(model=evil(folder))
    state = {
        'head.classifier': torch.ones(4, 2),
        'head.logit_scale': torch.tensor(1.0),
    }
    torch.save(dict(state_dict=state, meta=dict(config=config)), path)
    for use in (load_classifier, lambda path: publish(path, tmp_path / 'out')):
        with pytest.raises(ValueError, match='evil.pth.*os.mkdir'):
            use(path)
    torch.save(
        dict(state_dict=state, meta=dict(cfg=f'model = {config["model"]!r}')),
        path,
    )
    with pytest.raises(ValueError, match='evil.pth.*os.mkdir'):
        publish(path, tmp_path / 'out')
    assert not folder.exists()


def test_what_a_run_has_written_passes(config):
    check_types(build(config).cfg.to_dict()['model'], 'x.pth')
