"""The tool, and the examples of docs/evaluation.md."""

import json
import re
import runpy
import shlex
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.registry import MODELS

from must_mm.analysis.evaluate_features import (
    build_loader,
    dataloaders,
    evaluate,
    load_model,
    table,
)
from must_mm.evaluation.features import Features
from must_mm.quickstart.target import write_digits
from must_mm.utils.paths import config_path
from tests.tiny import ROOT, train

DOCS = (ROOT / 'docs' / 'evaluation.md').read_text()
NAMES = ['knn', 'linear', 'low-shot', 'clustering']


def examples(language: str) -> list[str]:
    return re.findall(rf'```{language}\n(.*?)```', DOCS, re.DOTALL)


COMMANDS = examples('bash')[0].splitlines()


@pytest.fixture(scope='module')
def quickstart(tmp_path_factory):
    """What the quickstart leaves, with weights that are not trained."""
    folder = tmp_path_factory.mktemp('quickstart')
    for name in ('configs', 'tools'):
        (folder / name).symlink_to(ROOT / name)
    root = folder / 'work_dirs' / 'quickstart'
    write_digits(root / 'digits', 32)
    model = Config.fromfile(config_path('must/quickstart_digits.py')).model
    model.start = None
    torch.manual_seed(0)
    (root / 'must').mkdir()
    state = MODELS.build(model).state_dict()
    torch.save(dict(state_dict=state), root / 'must' / 'epoch_30.pth')
    return folder


def run(command: str, folder, monkeypatch) -> None:
    """Run a command of the page in a folder with tools and configs."""
    python, tool, *arguments = shlex.split(command)
    assert python == 'python'
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, 'argv', [tool, *arguments])
    runpy.run_path(tool, run_name='__main__')


@pytest.mark.onedl
def test_first_command_of_the_page(quickstart, monkeypatch, capsys):
    """Everything is measured, shown and written."""
    run(COMMANDS[0], quickstart, monkeypatch)
    shown = capsys.readouterr().out
    assert '1197 training images, 400 test images, 64 numbers' in shown
    for row in ('k-NN', 'linear probe', '5 per class', 'k-means clusters'):
        assert row in shown
    path = quickstart / 'work_dirs/quickstart_digits/features.json'
    report = json.loads(path.read_text())
    assert list(report['results']) == NAMES
    assert len(report['results']['linear']['by_base_lr']) == 10
    # random features of digits are far better than chance, 0.1
    assert 0.3 < report['results']['knn']['accuracy'] < 1


def test_second_command_of_the_page(quickstart, monkeypatch, capsys):
    assert len(COMMANDS) == 2  # both are run
    run(COMMANDS[1], quickstart, monkeypatch)
    assert 'work_dirs/teacher.json is written' in capsys.readouterr().out
    report = json.loads((quickstart / 'work_dirs/teacher.json').read_text())
    assert list(report['results']) == ['knn', 'clustering']
    assert report['options'] == {'model.predict_with': 'teacher'}
    assert report['feature'] == 'mean' and report['width'] == 128


def test_configs_of_the_page_run(config):
    """The hook and the loop, in the toy run."""
    views = dataloaders(config)['train_dataloader']
    config.train_cfg.max_epochs = 1
    hook, loop, _ = examples('python')
    given = dict(views=views, val_dataloader=config.val_dataloader)
    for text in (hook, loop):
        exec(text, given)
    config.custom_hooks += given['custom_hooks']
    config.val_cfg = given['val_cfg']
    config.val_evaluator = given['val_evaluator']
    runner = train(config)
    hub = runner.message_hub
    validated = hub.get_scalar('val/knn/top1').current()
    # both look at all 24 images: the subsets asked for are larger
    assert validated == hub.get_scalar('knn/top1').current()


def test_code_of_the_page_runs(config, capsys):
    config.model.backbone.out_type = 'raw'
    train_loader, test_loader = (
        Runner.build_dataloader(loader)
        for loader in dataloaders(config).values()
    )
    model = MODELS.build(config.model)
    exec(examples('python')[2], locals())
    assert 0 < float(capsys.readouterr().out) <= 1


def blob(labels: torch.Tensor) -> Features:
    random = torch.Generator().manual_seed(len(labels))
    noise = 0.1 * torch.randn(len(labels), 4, generator=random)
    return Features(torch.eye(4)[labels] + noise, labels)


def test_table_shows_what_was_measured():
    bank, test = blob(torch.arange(80) % 4), blob(torch.arange(40) % 4)
    results = evaluate(bank, test, NAMES)
    text = table(results)
    assert [line[:20].strip() for line in text.splitlines()[1:]] == [
        'k-NN, k=10',
        'linear probe, best',
        '1 per class',
        '2 per class',
        '5 per class',
        'k-means clusters',
    ]
    results['knn']['accuracy'] = 0.5678
    assert '56.78 %' in table(results)
    only = evaluate(bank, test, ['low-shot'])
    assert len(table(only).splitlines()) == 4


def test_bank_dataloader_is_preferred(config):
    config.bank_dataloader = dict(config.val_dataloader, batch_size=3)
    found = dataloaders(config)
    assert list(found) == ['bank_dataloader', 'test_dataloader']
    assert found['bank_dataloader'].batch_size == 3


def test_bank_is_made_of_the_training_set(config):
    """Its images, in the views of the test set."""
    config.test_dataloader = None
    config.train_dataloader.dataset.ann_file = 'permuted.txt'
    found = dataloaders(config)
    assert list(found) == ['train_dataloader', 'val_dataloader']
    bank, test = found.values()
    assert bank.dataset.ann_file == 'permuted.txt'
    assert bank.dataset.pipeline == test.dataset.pipeline
    assert bank.sampler.shuffle is False and 'drop_last' not in bank
    # the config itself is left as it was
    assert config.train_dataloader.dataset.pipeline != test.dataset.pipeline
    assert test.dataset.ann_file == 'labels.txt'


def test_configs_without_data_say_so(config):
    inner = config.train_dataloader.dataset
    config.train_dataloader.dataset = dict(
        type='RepeatDataset', dataset=inner, times=2
    )
    with pytest.raises(ValueError, match='set bank_dataloader to'):
        dataloaders(config)
    config.train_dataloader = None
    with pytest.raises(ValueError, match='set bank_dataloader to'):
        dataloaders(config)
    config.test_dataloader = config.val_dataloader = None
    with pytest.raises(
        ValueError, match='no test_dataloader or val_dataloader'
    ):
        dataloaders(config)


def test_missing_images_name_the_loader(config):
    config.val_dataloader.dataset.ann_file = 'gone.txt'
    with pytest.raises(ValueError, match='val_dataloader: .*gone.txt'):
        build_loader('val_dataloader', config.val_dataloader)


def test_weights_that_are_needed(config, tmp_path):
    """A head may be missing; what makes the features may not."""
    config.load_from = str(tmp_path / 'weights.pth')
    # a plain classifier, as MMPretrain has it
    config.model = dict(
        type='ImageClassifier',
        backbone=config.model.backbone,
        neck=config.model.neck,
    )
    state = MODELS.build(config.model).state_dict()
    torch.save({f'module.{k}': v for k, v in state.items()}, config.load_from)
    model = load_model(config, 'neck')
    for name, value in model.state_dict().items():
        assert torch.equal(value.cpu(), state[name]), name

    partial = {k: v for k, v in state.items() if 'neck' not in k}
    torch.save(dict(state_dict=partial), config.load_from)
    load_model(config)
    with pytest.raises(ValueError, match='lacks 3 weights .*neck.proj'):
        load_model(config, 'neck')
    del partial['backbone.cls_token']
    torch.save(dict(state_dict=partial), config.load_from)
    with pytest.raises(ValueError, match=r'lacks 1 weights .*cls_token'):
        load_model(config)
    config.load_from = 'nowhere.pth'
    with pytest.raises(FileNotFoundError, match='nowhere.pth'):
        load_model(config)
