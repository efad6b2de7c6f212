"""The benchmark of the data path: what it compares, what it prints."""

import re
import runpy
import sys

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from PIL import Image

from benchmarks import data
from benchmarks.plain_views import PlainViews
from must_mm.datasets.seeding import EpochIndex
from tests.tiny import ROOT, SIZE, TRAIN_PIPELINE

CONFIG = f"""
train_dataloader = dict(dataset=dict(pipeline={TRAIN_PIPELINE!r}))
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('photos')
    data.write_photographs(folder / 'a', 60, 48, 3)
    return folder


@pytest.fixture
def run(monkeypatch, capsys):
    """Run ``tools/benchmark.py``; return its exit status and its output."""
    tool = str(ROOT / 'tools' / 'benchmark.py')

    def call(*argv) -> tuple[object, str]:
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, argv)])
        code = 0
        try:
            runpy.run_path(tool, run_name='__main__')
        except SystemExit as ended:
            code = ended.code
        return code, capsys.readouterr().out

    return call


def test_the_tool(run, tmp_path, folder):
    """A folder is written, all is measured, and every row has its ratio."""
    config = tmp_path / 'config.py'
    config.write_text(CONFIG)
    made = tmp_path / 'made'
    code, printed = run(
        *('data', made, '--make', '64x50', '--count', 2, '--rounds', 1),
        *('--levers', '--config', config),
    )
    assert code == 0
    files = sorted(made.iterdir())
    assert len(files) == 2
    assert Image.open(files[0]).size == (64, 50)
    lines = printed.splitlines()
    assert 'cores' in lines[0] and 'torch ' in lines[1]
    assert '2 images, for example 64 x 50' in lines[2]
    rows = [line.split('|')[1:-1] for line in lines[5:]]
    assert len(rows) == 12
    assert rows[0][0].strip() == 'torchvision and timm'
    assert float(rows[0][3]) == 1
    assert all(float(row[1]) > 0 and float(row[3]) > 0 for row in rows)


def test_commands_of_the_page(folder, tmp_path, capsys):
    """On few images."""
    page = (ROOT / 'benchmarks' / 'performance.md').read_text()
    lines = re.findall(r'^python tools/benchmark\.py data (.*)$', page, re.M)
    assert len(lines) == 3
    for number, line in enumerate(lines):
        _, *options = line.split()
        place = tmp_path / str(number) if '--make' in options else folder
        data.main([str(place), *options, '--count', '1', '--rounds', '1'])
        assert capsys.readouterr().out.count('\n| ') == 13, line


@pytest.mark.parametrize(
    'argv, error',
    [
        (['{folder}/none'], 'is no folder'),
        (['{empty}'], 'has no images'),
        (['{bad}'], 'broken.jpg: no known image format'),
        (['{folder}', '--make', '60x48'], 'is not empty'),
        (['{folder}', '--make', '60'], '60 is no WIDTHxHEIGHT'),
        (['{folder}', '--count', '0'], 'is no positive integer'),
        (['{folder}', '--config', 'none.py'], 'none.py'),
    ],
)
def test_errors(argv, error, folder, tmp_path, capsys):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'bad').mkdir()
    (tmp_path / 'bad' / 'broken.jpg').write_text('no image')
    places = dict(
        folder=folder, empty=tmp_path / 'empty', bad=tmp_path / 'bad'
    )
    with pytest.raises(SystemExit) as stopped:
        data.main([word.format(**places) for word in argv])
    printed = f'{stopped.value}{capsys.readouterr().err}'
    assert stopped.value.code and error in printed


def test_other_parts_are_refused(run):
    for argv, code in (((), 2), (('none',), 2), (('--help',), 0)):
        found, printed = run(*argv)
        assert found == code and 'step,data' in printed


def test_every_pipeline_makes_both_views_and_a_mask(folder):
    """At the published size, whatever the image's."""
    (path, *_) = data.find_images(folder, 1)
    ours = data.Config.fromfile(
        data.config_path('_base_/must_views.py')
    ).to_dict()['train_pipeline']
    pipelines = dict(
        data.levers(ours),
        pillow=data.mmpretrain_pipeline(),
        cv2=data.mmpretrain_pipeline('cv2', 'cv2'),
        ours=ours,
    )
    weak, strong, mask = PlainViews()(path)
    assert weak.shape == strong.shape == (3, 224, 224)
    assert weak.dtype == strong.dtype == torch.float32
    assert all(
        view.dtype == torch.uint8 and view.shape == weak.shape
        for view in PlainViews(normalise=False)(path)[:2]
    )
    for name, pipeline in pipelines.items():
        sample = Compose(pipeline)(
            dict(img_path=path, sample_idx=EpochIndex(0, 0, 0))
        )
        assert [view.shape for view in sample['inputs']] == [weak.shape] * 2
        assert all(view.dtype == torch.uint8 for view in sample['inputs'])
        found = sample['data_samples'].mask
        assert found.shape == mask.shape, name
        assert found.sum() == mask.sum() == 60


def test_the_table():
    spent = dict(first=np.array([2.0, 4.0]), second=np.array([1.0, 1.0]))
    row = data.table(spent, images=10).splitlines()[-1]
    assert row == '| second | 100.00 | 10 | 3.00 | 2.00, 4.00 |'


def test_images_are_taken_evenly(folder, tmp_path):
    data.write_photographs(tmp_path / 'b', 20, 20, 9)
    found = data.find_images(tmp_path, 3)
    assert [path[-8:] for path in found] == [
        '0000.jpg',
        '0003.jpg',
        '0006.jpg',
    ]
    assert len(data.find_images(folder, 99)) == 3
    assert SIZE < 48  # the tool's test enlarges nothing
