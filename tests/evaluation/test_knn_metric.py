"""k-NN as a metric of validation and test, in one process and in two."""

import pytest
import torch
import torch.distributed as dist
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmpretrain.structures import DataSample

from must_mm.evaluation import KNNMetric, extract_features, knn_accuracy
from tests.ranks import on_ranks
from tests.tiny import TEST_PIPELINE, build, dataset


@pytest.fixture
def knn_config(config, images):
    """23 images to classify, by 13 of the 24; random weights."""
    loader = config.val_dataloader.copy()
    # odd numbers: two processes have to pad
    loader.dataset = dict(
        dataset(images, TEST_PIPELINE), indices=[0, *range(1, 24, 2)]
    )
    config.val_dataloader.dataset.indices = 23
    config.test_dataloader = config.val_dataloader
    for phase, name in (
        ('val', 'FeatureValLoop'),
        ('test', 'FeatureTestLoop'),
    ):
        config[f'{phase}_cfg'] = dict(
            type=name, bank_dataloader=loader, feature='neck'
        )
        config[f'{phase}_evaluator'] = dict(type='KNNMetric', k=3)
    config.randomness = dict(seed=1)
    return config


def expected_accuracy(runner) -> float:
    bank, queries = (
        extract_features(runner.model, loader, 'neck')
        for loader in (
            runner.val_loop.bank_dataloader,
            runner.val_dataloader,
        )
    )
    assert (len(bank.labels), len(queries.labels)) == (13, 23)
    return 100 * knn_accuracy(*queries, *bank, k=3)


@pytest.mark.onedl
@pytest.mark.parametrize('phase', ['val', 'test'])
def test_loop_equals_functions(knn_config, phase):
    runner = build(knn_config)
    expected = expected_accuracy(runner)
    assert getattr(runner, phase)() == {'knn/top1': expected}
    assert 0 < expected < 100


def test_swapped_weights_reach_the_bank(knn_config):
    """As where averaged weights stand in during validation."""

    class Swap(Hook):
        def before_val_epoch(self, runner):
            torch.manual_seed(5)
            for param in runner.model.parameters():
                param.data = torch.randn_like(param)

    runner = build(knn_config, Swap())
    before = expected_accuracy(runner)
    found = runner.val()['knn/top1']
    assert found == expected_accuracy(runner) != before


def two_processes(rank: int, cfg, folder) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        'gloo', init_method=f'file://{folder}/group', rank=rank, world_size=2
    )
    runner = build(cfg)
    metrics = runner.val()
    data = extract_features(runner.model, runner.val_dataloader, 'neck')
    torch.save((metrics, data and tuple(data)), f'{folder}/{rank}.pt')
    dist.destroy_process_group()


@pytest.mark.dist
def test_two_processes_equal_one(knn_config, tmp_path, monkeypatch):
    """The order is restored and the padding is dropped."""
    monkeypatch.chdir(tmp_path)  # MMEngine collects in the current folder
    runner = build(knn_config)
    expected = runner.val()
    data = extract_features(runner.model, runner.val_dataloader, 'neck')
    on_ranks(two_processes, knn_config, tmp_path)
    first, second = (torch.load(tmp_path / f'{rank}.pt') for rank in (0, 1))
    assert first[0] == second[0] == expected
    assert second[1] is None
    assert torch.equal(first[1][1], data.labels)
    # batches are composed differently
    torch.testing.assert_close(first[1][0], data.features)


def sample(label=0, **fields):
    return DataSample(**fields).set_gt_label(label)


def test_unusable_configs_say_so(knn_config):
    for k in (0, '10'):
        with pytest.raises(ValueError, match=f'KNNMetric.k .*, got {k!r}'):
            KNNMetric(k=k)
    for value in (0, float('nan')):
        with pytest.raises(
            ValueError, match=f'KNNMetric.temperature .*, got {value}'
        ):
            KNNMetric(temperature=value)
    evaluator = Evaluator(KNNMetric())
    with pytest.raises(ValueError, match="val_cfg=dict.type='FeatureValLoop'"):
        evaluator.process([sample()])
    evaluator.process([sample(feature=torch.ones(2))])
    with pytest.raises(ValueError, match='set bank_dataloader'):
        evaluator.evaluate(1)

    knn_config.val_evaluator.k = 14
    with pytest.raises(ValueError, match='k is 14, bank_dataloader.* has 13'):
        build(knn_config).val()
    knn_config.val_cfg.feature = 'best'
    with pytest.raises(ValueError, match="got 'best'"):
        build(knn_config).val()


@pytest.mark.parametrize('which', ['val', 'bank'])
def test_missing_labels_name_the_loader(knn_config, images, which):
    unlabelled = dataset(images, TEST_PIPELINE, 'names.txt')
    if which == 'val':
        knn_config.val_dataloader.dataset = unlabelled
    else:
        knn_config.val_cfg.bank_dataloader.dataset = unlabelled
    message = f'labels are missing.*{which}_dataloader.dataset gives none'
    with pytest.raises(ValueError, match=message):
        build(knn_config).val()
