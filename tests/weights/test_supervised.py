"""Starts from trained classifiers: merging, names, faults."""

from argparse import Namespace

import pytest
import timm
import torch
from mmpretrain.registry import MODELS

from must_mm.checkpoints.plain import save_tensors
from must_mm.weights.supervised import (
    ClassifierStart,
    check_class_map,
    merge_rows,
)
from tests.tiny import CLASSES

MAP = {'dog': [0, 3], 'ant': [1], 'cat': [2], 'bee': [4, 1]}
RESNET = dict(type='ResNet', depth=18, stem_channels=4, base_channels=4)


def must(backbone=RESNET, channels=32, **start):
    return dict(
        type='MUST',
        backbone=backbone,
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='LinearPseudoLabelHead',
            num_classes=len(CLASSES),
            in_channels=channels,
        ),
        start=dict(type='ClassifierStart', classes=CLASSES, **start),
    )


@pytest.fixture(scope='module')
def source():
    """State dict of a classifier of five classes."""
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=RESNET,
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=5, in_channels=32),
        )
    )
    model.init_weights()
    return model.state_dict()


def started(tmp_path, state, **start):
    path = tmp_path / 'source.pth'
    save_tensors(dict(state_dict=state), path)
    model = MODELS.build(must(checkpoint=path, **start))
    model.init_weights()
    return model


def test_rows_go_by_name_in_the_order_of_the_classes():
    assert check_class_map(MAP, CLASSES) == [[1], [4, 1], [2], [0, 3]]


def test_rows_are_averaged():
    rows = torch.arange(10.0).reshape(5, 2)
    found = merge_rows(rows, [[1], [4, 1], [2], [0, 3]])
    expected = torch.tensor([[2.0, 3.0], [5.0, 6.0], [4.0, 5.0], [3.0, 4.0]])
    assert torch.equal(found, expected)
    assert torch.equal(merge_rows(rows[:, 0], [[4, 0]]), torch.tensor([4.0]))


@pytest.mark.parametrize('row', [5, -1])
def test_row_out_of_range(row):
    with pytest.raises(
        ValueError, match=rf'class_map: rows \[{row}\].*0 to 4'
    ):
        merge_rows(torch.zeros(5, 2), [[0], [row]])


@pytest.mark.parametrize(
    'class_map, message',
    [
        ({'ant': [0], 'bee': [1]}, r"2 classes.* 4; without.*'cat', 'dog'"),
        (dict(MAP, cow=[0]), r"5 classes.* 4; not a class: \['cow'\]"),
        (dict(MAP, cat=[]), r"no rows for \['cat'\]"),
    ],
)
def test_maps_that_do_not_fit_name_the_key(class_map, message):
    with pytest.raises(
        ValueError, match=r'model\.start\.class_map.*' + message
    ):
        ClassifierStart('none.pth', CLASSES, class_map)


def test_head_is_merged_and_features_are_the_sources(source, tmp_path):
    model = started(tmp_path, source, class_map=MAP)
    state = model.state_dict()
    for name, value in source.items():
        if not name.startswith('head.'):
            assert torch.equal(state[name], value), name
            assert torch.equal(state[f'teacher.{name}'], value), name
    rows = source['head.fc.weight']
    assert torch.equal(state['head.fc.weight'][0], rows[1])
    assert torch.equal(state['head.fc.weight'][3], (rows[0] + rows[3]) / 2)


FILES = {
    'alone': lambda state: state,
    'timm': lambda state: dict(
        epoch=3,
        arch='test_efficientnet',
        state_dict=state,
        args=Namespace(model='test_efficientnet', lr=0.1),
        state_dict_ema={n: torch.zeros_like(v) for n, v in state.items()},
    ),
    'deit': lambda state: dict(
        model=state, epoch=3, args=Namespace(lr=0.1), scaler=dict(scale=1.0)
    ),
    'compiled': lambda state: dict(
        state_dict={f'_orig_mod.{n}': v for n, v in state.items()}
    ),
}


@pytest.mark.parametrize('file', FILES)
def test_names_of_timm(tmp_path, file):
    """Logits are those of timm's own model, merged.

    Tolerance: float32, another order of the same sums.
    """
    torch.manual_seed(0)
    network = timm.create_model('test_efficientnet', num_classes=5).eval()
    save_tensors(FILES[file](network.state_dict()), tmp_path / 'timm.pth')
    backbone = dict(type='TIMMBackbone', model_name='test_efficientnet')
    model = MODELS.build(
        must(backbone, 256, checkpoint=tmp_path / 'timm.pth', class_map=MAP)
    )
    model.init_weights()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        logits = network(images)
        expected = torch.stack(
            [logits[:, MAP[name]].mean(1) for name in CLASSES], 1
        )
        torch.testing.assert_close(
            model.eval()(images), expected, rtol=1e-5, atol=1e-5
        )


def test_other_normalisation_than_timm_s_is_a_warning(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        'must_mm.weights.supervised.print_log',
        lambda text, *_: said.append(text),
    )
    network = timm.create_model('test_efficientnet', num_classes=5)
    save_tensors(network.state_dict(), tmp_path / 'timm.pth')
    backbone = dict(type='TIMMBackbone', model_name='test_efficientnet')
    config = must(
        backbone, 256, checkpoint=tmp_path / 'timm.pth', class_map=MAP
    )
    mean, std = (
        [255 * value for value in network.default_cfg[name]]
        for name in ('mean', 'std')
    )
    config['data_preprocessor'] = dict(mean=mean, std=std)
    MODELS.build(config).init_weights()
    assert said == []
    config['data_preprocessor']['std'] = [99.0] * 3
    MODELS.build(config).init_weights()
    assert said[0].startswith('model.data_preprocessor.std is [99, 99, 99]')


def fault(state: dict, kind: str) -> dict:
    if kind == 'no head':
        return {n: v for n, v in state.items() if n.startswith('backbone.')}
    if kind == 'hidden layer':
        return {**state, 'head.layers.pre_logits.weight': torch.ones(2, 2)}
    if kind == 'no statistics':
        return {n: v for n, v in state.items() if 'running' not in n}
    if kind == 'other network':
        return {n: v for n, v in state.items() if 'layer4.1' not in n}
    return {n.removeprefix('backbone.'): v for n, v in state.items()}


@pytest.mark.parametrize(
    'kind, message',
    [
        ('no head', 'gives no linear head, model.head takes'),
        ('hidden layer', r'head\.layers\.pre_logits\.weight.*of one layer'),
        ('no statistics', 'statistics of batch norms'),
        ('other network', r'layer4\.1.* is missing.*model\.backbone'),
        ('no prefix', "'backbone.'; the names of timm"),
    ],
)
def test_checkpoints_that_do_not_fit(source, tmp_path, kind, message):
    with pytest.raises(ValueError, match=message):
        started(tmp_path, fault(source, kind), class_map=MAP)


def test_other_numbers_of_classes(source, tmp_path):
    with pytest.raises(ValueError, match=r'5 classes.*4: .*class_map'):
        started(tmp_path, source)
    config = must(checkpoint='none.pth', class_map=MAP)
    config['head']['num_classes'] = 7
    with pytest.raises(ValueError, match=r'head\.num_classes is 7'):
        MODELS.build(config).init_weights()


def test_missing_file_says_so():
    model = MODELS.build(must(checkpoint='none.pth', class_map=MAP))
    with pytest.raises(FileNotFoundError, match='none.pth'):
        model.init_weights()


@pytest.mark.parametrize(
    'wrap',
    [
        lambda harm: dict(state_dict=harm),
        lambda harm: dict(state_dict={}, args=Namespace(lr=harm)),
    ],
    ids=['weights', 'command line'],
)
def test_only_data_is_read(tmp_path, wrap):
    """A file that would run code is refused."""

    class Hostile:
        def __reduce__(self):
            return (
                (tmp_path / 'harm').touch,
                (),
            )

    torch.save(wrap(Hostile()), tmp_path / 'hostile.pth')
    model = MODELS.build(
        must(checkpoint=tmp_path / 'hostile.pth', class_map=MAP)
    )
    with pytest.raises(ValueError, match='no checkpoint of plain data'):
        model.init_weights()
    assert not (tmp_path / 'harm').exists()
