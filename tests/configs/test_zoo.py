"""The models by name: metafile, README and configs agree."""

import copy
import re

import mmengine
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain import (
    ImageClassificationInferencer,
    get_model,
    list_models,
)
from mmpretrain.registry import MODELS

from must_mm.datasets import class_table
from must_mm.runs.arguments import without_start
from tests.tiny import ROOT

METAFILE = mmengine.load(ROOT / 'configs' / 'must' / 'metafile.yml')
ZOO = {model['Name']: model for model in METAFILE['Models']}
README = (ROOT / 'configs' / 'must' / 'README.md').read_text()
SMALL = dict(
    start=None,
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=16,
            num_layers=1,
            num_heads=2,
            feedforward_channels=16,
        )
    ),
    neck=dict(in_channels=16, out_channels=8),
    head=dict(in_channels=8),
    decoder=dict(in_channels=16),
)


def test_every_recipe_of_a_data_set_is_in_the_zoo():
    files = {
        f'must_{path.stem}': f'configs/must/{path.name}'
        for path in (ROOT / 'configs' / 'must').glob('vit-*.py')
        # of other recipes it has the models already
        if not re.search('custom|balanced', path.name)
    }
    assert {name: model['Config'] for name, model in ZOO.items()} == files
    index = mmengine.load(ROOT / 'model-index.yml')
    assert index['Import'][0] == 'configs/must/metafile.yml'


@pytest.mark.onedl
def test_models_are_listed():
    assert set(list_models('must_*')) == set(ZOO)
    assert set(ZOO) <= set(list_models('*must*'))


@pytest.mark.parametrize('name', ZOO)
def test_parameters_are_counted(name):
    cfg = Config.fromfile(ROOT / ZOO[name]['Config'])
    with torch.device('meta'):
        model = MODELS.build(without_start(cfg).model).teacher
    found = sum(param.numel() for param in model.parameters())
    assert found == ZOO[name]['Metadata']['Parameters']


def cells() -> dict[str, list[str]]:
    """Rows of the table of models, by name; the config comes first."""
    rows = re.findall(
        r'^\| \[(must_\S+)\]\((\S+)\) \|(.*)\|$', README, re.MULTILINE
    )
    return {
        name: [config, *(cell.strip() for cell in row.split('|'))]
        for name, config, row in rows
    }


def test_readme_says_what_metafile_and_headers_say():
    rows = cells()
    assert set(rows) == set(ZOO)
    for name, row in rows.items():
        config, params, flops, *quoted = row
        data = ZOO[name]['Metadata']
        assert params == f'{data["Parameters"] / 1e6:.2f}'
        assert flops == f'{data["FLOPs"] / 1e9:.2f}'
        assert f'configs/must/{config}' == ZOO[name]['Config']
        header = (ROOT / ZOO[name]['Config']).read_text().split('_base_')[0]
        if quoted:
            assert 'CLIP {}, MUST {}'.format(*quoted) in header
        else:
            assert '(paper): CLIP' not in header
        # nothing was run yet; a figure here needs its log
        assert ZOO[name]['Results'] is None


@pytest.mark.onedl
def test_model_by_name(tmp_path):
    """The zoo's config with a toy network, from name to prediction."""
    cfg = Config.fromfile(ROOT / ZOO['must_vit-b16_cifar10']['Config'])
    cfg.merge_from_dict(dict(model=copy.deepcopy(SMALL)))
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'x.pth')
    image = np.random.default_rng(0).integers(0, 256, (50, 40, 3), np.uint8)
    inferencer = ImageClassificationInferencer(
        'must_vit-b16_cifar10',
        pretrained=str(tmp_path / 'x.pth'),
        device='cpu',
        **copy.deepcopy(SMALL),
    )
    (found,) = inferencer(image)
    assert inferencer.classes == tuple(class_table('cifar10'))
    assert found['pred_class'] == inferencer.classes[found['pred_label']]
    loaded = get_model(
        'must_vit-b16_cifar10', str(tmp_path / 'x.pth'), **copy.deepcopy(SMALL)
    )
    for key, value in loaded.state_dict().items():
        assert torch.equal(value, model.state_dict()[key]), key
