"""Every command of docs/tools.md, on the quickstart's model."""

import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import DATASETS, MODELS
from PIL import Image

from benchmarks import scaling
from must_mm.analysis import browse, flops, tsne
from must_mm.analysis.browse import masked, panel
from must_mm.analysis.cam import check_backbone, grad_cam
from must_mm.analysis.flops import complexity
from must_mm.analysis.logs import check_logs
from must_mm.analysis.tsne import embed
from must_mm.runs import arguments
from must_mm.runs.arguments import image_size
from must_mm.runs.batch_rule import count_processes
from must_mm.runs.launch import parse_args
from must_mm.runs.mmpretrain_tools import run_tool
from must_mm.utils.paths import config_path
from tests.long import soak
from tests.tiny import CLASSES, ROOT, SIZE, build

TEXT = (ROOT / 'docs' / 'tools.md').read_text()
COMMANDS = [
    line
    for block in re.findall('```bash\n(.*?)```', TEXT, re.DOTALL)
    for line in block.splitlines()
    if 'tools/' in line
]
# train, test and the launchers: here below and in test_launch.py; data:
# test_datasets.py
ELSEWHERE = re.compile(
    r'tools/(train|test|prepare_dataset|extract_middle_frames)\.py|\.sh '
)
HERE = [line for line in COMMANDS if not ELSEWHERE.search(line)]


@pytest.fixture(scope='module')
def trained(short_quickstart, tmp_path_factory):
    """A folder to write to, with the quickstart's run in it."""
    folder = tmp_path_factory.mktemp('tools')
    shutil.copytree(short_quickstart / 'must', folder / 'run')
    return folder


def call(line: str, monkeypatch) -> None:
    """Run ``python TOOL ARGUMENTS`` in this process."""
    _, tool, *argv = shlex.split(line)
    monkeypatch.setattr(sys, 'argv', [tool, *argv])
    monkeypatch.setattr(sys, 'path', [*sys.path])
    runpy.run_path(str(ROOT / tool), run_name='__main__')


def test_commands_are_found():
    assert len(COMMANDS) == 17 and len(HERE) == 8
    for line in COMMANDS:
        tool = re.search(r'tools/\w+\.(py|sh)', line)[0]
        assert (ROOT / tool).is_file(), tool


@pytest.mark.parametrize('line', HERE, ids=lambda line: line.split()[1][6:])
def test_command(line, trained, short_quickstart, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    image = next((short_quickstart / 'digits' / 'test').rglob('*.png'))
    for name, value in {
        '$config': 'run/quickstart_digits.py',
        '$checkpoint': 'run/epoch_1.pth',
        '$run': 'run',
        'IMAGE': str(image),
        'LOG': str(next(trained.glob('run/*/vis_data/scalars.json'))),
    }.items():
        line = line.replace(name, value)
    call(line, monkeypatch)
    printed = capsys.readouterr().out
    if (drawn := re.search(r'\S+\.png$|\S+\.png(?= )', line)) and (
        drawn[0] != str(image)
    ):
        picture = np.asarray(Image.open(trained / drawn[0]).convert('RGB'))
        assert picture.std() > 1, 'an empty picture'
    expected = {
        'print_config': "type='MUST'",
        'browse_dataset': 'run/browse/000000.png',
        'get_flops': 'M parameters',
        'cal_train_time': 'average iter time',
    }
    for tool, part in expected.items():
        if tool in line:
            assert part in printed


def test_browse_draws_the_training_sample(config):
    """What is grey is masked, what is not is the strong view."""
    dataset = DATASETS.build(config.train_dataloader.dataset)
    sample = dataset[0]
    picture = panel(sample)
    assert picture.shape == (SIZE, 3 * SIZE + 2 * 4, 3)
    _, strong = (view.numpy().transpose(1, 2, 0) for view in sample['inputs'])
    shown, student = picture[:, SIZE + 4 : -SIZE - 4], picture[:, -SIZE:]
    np.testing.assert_array_equal(shown, strong[..., ::-1])
    mask = np.kron(sample['data_samples'].mask.numpy(), np.ones((8, 8)))
    np.testing.assert_array_equal(student[mask == 0], shown[mask == 0])
    assert (student[mask == 1] == 128).all() and 0 < mask.mean() < 1


def test_browse_needs_two_views(config):
    dataset = DATASETS.build(config.val_dataloader.dataset)
    with pytest.raises(ValueError, match='no weak and strong view'):
        panel(dataset[0])


def test_mask_of_wide_images():
    image = np.zeros((4, 8, 3), np.uint8)
    grey = masked(image, np.array([[1, 0], [0, 1]]))
    assert (grey[:2, :4] == 128).all() and (grey[2:, 4:] == 128).all()
    assert grey.mean() == 64


def test_complexity_counts_the_classifier_alone(config):
    """By hand: multiply-adds of convolution and linear layers."""
    found = complexity(config, SIZE)
    width, embed_dims, tokens = 32, 16, 17
    block = 12 * width**2
    weights = 3 * 64 * width + 2 * block + width * embed_dims
    linear = 2 * tokens * block + 16 * 3 * 64 * width
    linear += embed_dims * width + embed_dims * len(CLASSES)
    assert found['params'] > weights
    assert found['params'] == pytest.approx(weights, rel=0.1)
    # MMEngine counts some norms
    assert found['flops'] == pytest.approx(linear, rel=0.05)


@pytest.fixture
def network(config):
    """A toy classifier with weights of some size."""
    torch.manual_seed(0)
    model = build(config).model
    model.init_weights()
    return model.eval()


@pytest.mark.parametrize('who', ['student', 'teacher'])
def test_cam_is_a_map_of_the_asked_class(network, who):
    """In [0, 1] at the image's size, another one for another class."""
    image = torch.randn(1, 3, SIZE, SIZE)
    model = network if who == 'student' else network.teacher
    heat, label = grad_cam(model, image)
    assert heat.shape == (SIZE, SIZE)
    assert heat.min() >= 0 and heat.max() == pytest.approx(1, abs=1e-6)
    assert label == int(model(image).argmax())
    other, asked = grad_cam(model, image, label=(label + 1) % 4)
    assert asked == (label + 1) % 4 and not np.allclose(other, heat)
    assert not any(
        module._forward_hooks for module in model.backbone.layers[-1].modules()
    )


def test_tsne_keeps_neighbours_together():
    rows = np.random.default_rng(0).normal(0, 0.05, (40, 8)).astype('f4')
    rows[20:] += 1
    points = embed(rows, perplexity=5)
    first, second = points[:20], points[20:]
    gap = np.linalg.norm(first.mean(0) - second.mean(0))
    assert gap > max(first.std(), second.std())
    with pytest.raises(ValueError, match='needs more images than 40'):
        embed(rows, perplexity=40)


def test_cam_needs_a_class_token(network):
    check_backbone(network.backbone)
    with pytest.raises(ValueError, match='model.backbone is a ResNet'):
        check_backbone(MODELS.build(dict(type='ResNet', depth=18)))


@pytest.mark.parametrize('label', [4, -1])
def test_cam_of_a_class_that_is_none(network, label):
    with pytest.raises(
        ValueError, match=f'--label must lie in 0 .* 3,.*{label}'
    ):
        grad_cam(network, torch.randn(1, 3, SIZE, SIZE), label)


@pytest.mark.parametrize(
    'name, size',
    [
        ('resnet50_clothing', 160),
        ('efficientnet-lite0_clothing_balanced', 160),
        ('vit-b16_pets', 224),
        ('siglip-b16_custom', 224),
    ],
)
def test_image_size_of_a_config(name, size):
    cfg = Config.fromfile(config_path(f'must/{name}.py'))
    assert image_size(cfg, None) == size and image_size(cfg, 96) == 96


def test_image_size_that_no_config_tells(config):
    del config.model.backbone['img_size']
    config.train_dataloader.dataset.pipeline = []
    config.test_dataloader.dataset.pipeline = []
    with pytest.raises(ValueError, match='give it with --size'):
        image_size(config, None)


@pytest.mark.parametrize(
    'main, options',
    [
        (browse.main, 'out --number'),
        (flops.main, '--size'),
        (scaling.main, '--gpus'),
        (scaling.main, '--batch'),
        (soak.main, '--iterations'),
        (tsne.main, 'x.pth out.png --per-class'),
    ],
)
@pytest.mark.parametrize('value', ['0', '-1', 'x'])
def test_numbers_are_positive(main, options, value, capsys):
    config = [] if main is soak.main else ['config.py']
    with pytest.raises(SystemExit):
        main([*config, *options.split(), value])
    error = capsys.readouterr().err
    assert options.split()[-1] in error
    assert 'no positive integer' in error or 'expected' in error


@pytest.mark.parametrize('main', [browse.main, tsne.main])
def test_missing_data_names_the_loader(
    main, config, tmp_path, network, monkeypatch
):
    for loader in ('train', 'test'):
        config[f'{loader}_dataloader'].dataset.ann_file = 'gone.txt'
    config.dump(tmp_path / 'tiny.py')
    monkeypatch.setattr(arguments, 'read_model', lambda cfg, args: network)
    checkpoint = ['x.pth'] if main is tsne.main else []
    with pytest.raises(ValueError, match='_dataloader: no images .*gone.txt'):
        main([str(tmp_path / 'tiny.py'), *checkpoint, str(tmp_path / 'out')])


@pytest.mark.parametrize(
    'content, reason',
    [
        ('', 'no step of a training'),
        ('{"lr": 0.1, "step": 1}\n{"lr"', 'line 2 is no JSON object'),
        ('{"accuracy": 0.1, "step": 1}', 'no step of a training'),
    ],
)
def test_broken_log_is_named(content, reason, tmp_path):
    log = tmp_path / 'scalars.json'
    log.write_text(content)
    with pytest.raises(ValueError, match=f'scalars.json.*{reason}'):
        check_logs(['cal_train_time', str(log)])


def test_log_of_a_test_is_plotted(tmp_path):
    log = tmp_path / 'scalars.json'
    log.write_text('{"accuracy": 0.1, "step": 1}\n')
    check_logs(['plot_curve', str(log), '--out', 'missing.json'])


def test_published_form_needs_a_run(tmp_path, monkeypatch, capsys):
    torch.save({'model': {}}, tmp_path / 'x.pth')
    line = f'python tools/convert_must.py --back {tmp_path}/x.pth out.pth'
    with pytest.raises(SystemExit):
        call(line, monkeypatch)
    error = capsys.readouterr().err
    assert 'x.pth has no state_dict' in error


def test_missing_tool_says_so():
    with pytest.raises(FileNotFoundError, match='as a wheel'):
        run_tool('misc/none.py')


@pytest.mark.parametrize('phase', ['train', 'test'])
def test_slurm(phase, tmp_path, subprocess_env, monkeypatch):
    """A stub writes down what srun would be given."""
    stub = tmp_path / 'srun'
    stub.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    stub.chmod(0o755)
    checkpoint = ['x.pth'] if phase == 'test' else []
    script = ROOT / 'tools' / f'slurm_{phase}.sh'
    options = ['--work-dir', 'a folder']
    env = dict(
        subprocess_env,
        PATH=f'{tmp_path}:{subprocess_env["PATH"]}',
        PYTHON='python3',
        GPUS='16',
        SRUN_ARGS='--time=1:00:00 --exclusive',
    )

    def submit(*argv, **changes):
        return subprocess.run(
            ['bash', script, *argv],
            env=env | changes,
            capture_output=True,
            text=True,
        )

    words = ['gpu', 'job', 'c.py', *checkpoint, *options]
    sent = submit(*words).stdout.splitlines()
    at = sent.index('python3')
    assert sent[:at] == [
        '-p',
        'gpu',
        '--job-name=job',
        '--gres=gpu:8',
        '--ntasks=16',
        '--ntasks-per-node=8',
        '--cpus-per-task=5',
        '--kill-on-bad-exit=1',
        '--time=1:00:00',
        '--exclusive',
    ]
    assert sent[at + 1] == '-u'
    assert Path(sent[at + 2]) == ROOT / 'tools' / f'{phase}.py'
    # what srun starts is understood
    args = parse_args('', phase, sent[at + 3 :])
    assert (args.config, args.launcher) == ('c.py', 'slurm')
    assert args.work_dir == 'a folder'
    assert getattr(args, 'checkpoint', None) == (*checkpoint, None)[0]
    monkeypatch.setenv('SLURM_NTASKS', '16')
    assert count_processes(args.launcher) == 16

    assert '--gres=gpu:2' in submit(*words, GPUS='2').stdout
    if phase == 'train':  # the work dir where MMPretrain's script takes it
        sent = submit('gpu', 'job', 'c.py', 'a folder', '--amp').stdout
        args = parse_args('', phase, sent.splitlines()[at + 3 :])
        assert args.work_dir == 'a folder' and args.amp
    short = submit('gpu', 'job')
    assert short.returncode == 2 and 'usage' in short.stderr
