"""From the command line to a runner; two processes without CUDA."""

import os
import subprocess
import sys
from datetime import timedelta

import pytest
import torch
from mmengine.config import Config

from must_mm.runs.launch import (
    join_processes,
    load_config,
    metrics_of,
    parse_args,
)
from must_mm.utils.distributed import free_port
from must_mm.utils.paths import config_path
from tests.tiny import ROOT, launch


@pytest.fixture
def config_file(config, tmp_path):
    config.dump(tmp_path / 'tiny.py')
    return str(tmp_path / 'tiny.py')


def test_options_reach_the_config(config_file, tmp_path):
    args = parse_args(
        '',
        'train',
        [
            config_file,
            '--work-dir',
            str(tmp_path / 'there'),
            '--amp',
            '--cfg-options',
            'model.head.threshold=0.25',
            'train_cfg.max_epochs=7',
        ],
    )
    cfg = load_config(args)
    assert cfg.work_dir == str(tmp_path / 'there')
    assert cfg.optim_wrapper.type == 'AutocastOptimWrapper'
    assert cfg.model.head.threshold == 0.25
    assert cfg.train_cfg.max_epochs == 7
    assert not cfg.resume and cfg.load_from is None


def test_checkpoint_of_the_test_tool(config_file):
    cfg = load_config(parse_args('', 'test', [config_file, 'x.pth']))
    assert cfg.load_from == 'x.pth' and not cfg.resume


def test_work_dir_is_named_after_the_config(config_file):
    args = parse_args('', 'train', [config_file, '--cfg-options', 'work_dir='])
    assert load_config(args).work_dir == os.path.join('work_dirs', 'tiny')


def test_missing_config_says_so():
    with pytest.raises(FileNotFoundError, match='no config nowhere.py'):
        load_config(parse_args('', 'train', ['nowhere.py']))


@pytest.mark.onedl
def test_train_then_test(config_file, config, tmp_path):
    """The test tool repeats the last validation, from the checkpoint."""
    trained = launch('train', config_file)
    trained.train()
    expected = trained.val()
    found = launch(
        'test', config_file, tmp_path / 'run' / 'epoch_3.pth'
    ).test()
    assert set(found) == {'student/accuracy/top1', 'teacher/accuracy/top1'}
    assert found == expected


def test_the_start_may_be_gone(config, tmp_path):
    """The checkpoint brings all weights; the start stays in the config."""
    config.train_cfg.max_epochs = 1
    config.dump(tmp_path / 'tiny.py')
    launch('train', tmp_path / 'tiny.py').train()
    config.model.start = dict(type='ConvertedStart', checkpoint='gone.pth')
    config.dump(tmp_path / 'tiny.py')
    checkpoint = tmp_path / 'run' / 'epoch_1.pth'
    assert launch('test', tmp_path / 'tiny.py', checkpoint).test()
    written = Config.fromfile(tmp_path / 'run' / 'tiny.py')
    assert written.model.start == config.model.start


def test_missing_test_data_names_the_loader(config, tmp_path):
    config.test_dataloader.dataset.ann_file = 'gone.txt'
    config.dump(tmp_path / 'tiny.py')
    with pytest.raises(ValueError, match='test_dataloader.*gone.txt.*ann_fil'):
        launch('test', tmp_path / 'tiny.py', 'x.pth')


@pytest.mark.parametrize('option', ['foo', 'model.head.classes=[1,(2]'])
def test_broken_option_says_so(config_file, option, capsys):
    with pytest.raises(SystemExit):
        parse_args('', 'train', [config_file, '--cfg-options', option])
    error = capsys.readouterr().err
    assert '--cfg-options' in error and f"'{option}' is no KEY=VALUE" in error


@pytest.mark.skipif(torch.cuda.is_available(), reason='joins by NCCL')
def test_a_recipe_states_how_its_processes_meet(monkeypatch):
    """An hour in a collective, no file between nodes, no buffers sent."""
    seen = {}
    monkeypatch.setattr(
        torch.distributed,
        'init_process_group',
        lambda backend, **options: seen.update(options, backend=backend),
    )
    monkeypatch.setattr(torch.distributed, 'get_world_size', lambda: 8)
    cfg = Config.fromfile(config_path('must/vit-b16_imagenet.py'))
    cfg.launcher = 'pytorch'
    join_processes(cfg)
    assert seen == dict(backend='gloo', timeout=timedelta(hours=1))
    assert cfg.val_evaluator.collect_device == 'gpu'
    assert cfg.test_evaluator.collect_device == 'gpu'
    assert cfg.model_wrapper_cfg.broadcast_buffers is False


def test_metrics_in_every_form_of_an_evaluator():
    one, other = dict(type='Accuracy'), dict(type='SingleLabelMetric')
    assert metrics_of(one) == [one]
    assert metrics_of([one, other]) == [one, other]
    assert metrics_of(dict(type='Evaluator', metrics=one)) == [one]
    assert metrics_of(dict(metrics=[one, other])) == [one, other]
    for none in (None, [], dict(type='Evaluator', metrics=[])):
        assert metrics_of(none) == []


@pytest.mark.dist
@pytest.mark.skipif(torch.cuda.is_available(), reason='uses the GPU instead')
def test_two_processes_train_over_gloo(config, tmp_path, subprocess_env):
    config.train_dataloader.batch_size = 4
    config.train_cfg.max_epochs = 1
    config.log_level = 'INFO'
    config.val_evaluator = dict(type='Evaluator', metrics=config.val_evaluator)
    config.dump(tmp_path / 'tiny.py')
    done = subprocess.run(
        ['bash', ROOT / 'tools' / 'dist_train.sh', tmp_path / 'tiny.py', '2'],
        env=dict(subprocess_env, PYTHON=sys.executable, PORT=str(free_port())),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-3000:]
    assert '2 processes on the CPU, joined by gloo' in output
    assert 'teacher/accuracy/top1' in output
    # 24 images over 2 x 4: three iterations
    assert '[1][3/3]' in output
    saved = torch.load(tmp_path / 'run' / 'epoch_1.pth', weights_only=True)
    assert saved['ema_teacher'] == dict(step=3, images=0)
