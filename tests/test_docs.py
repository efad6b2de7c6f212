"""Every command that README and docs show is run by a test.

The README's fenced ``bash`` blocks are run here line by line, in a folder
that looks like a clean clone after the quickstart. Lines that set up whole
environments are the exception (see ``SET_UP``). The other pages belong to
the tests of what they describe.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import ROOT

PAGES = sorted((ROOT / 'docs').glob('*.md')) + sorted(
    (ROOT / 'configs').glob('*/README.md')
)
#: Where the commands of a page are run.
TESTED_IN = {
    'docs/adapt.md': ['adapt/test_command.py'],
    'docs/backbones.md': ['benchmarks/test_photo_experiment.py'],
    'docs/evaluation.md': ['analysis/test_evaluate_features.py'],
    'docs/performance.md': [
        'benchmarks/test_data.py',
        'benchmarks/test_step.py',
    ],
    'docs/reliability.md': [
        'long/test_crash.py',
        'runs/test_distributed.py',
        'long/test_fuzz.py',
        'long/test_soak.py',
    ],
    'docs/scaling.md': ['benchmarks/test_scaling.py'],
    'docs/tools.md': ['analysis/test_tools.py', 'datasets/test_datasets.py'],
    'docs/towers.md': ['weights/test_start_file.py', 'weights/test_towers.py'],
    'configs/mae_ct/README.md': [
        'configs/test_maect_configs.py',
        'long/test_maect_replay.py',
    ],
    'configs/must/README.md': [
        'configs/test_recipes.py',
        'datasets/test_datasets.py',
    ],
}
SET_UP = (
    'bash tools/quickstart.sh',  # test_quickstart.py, but for the packages
    'bash tools/run_tests.sh',  # this very run
    'pip install ',  # test_packaging.py
)
#: What a user has and a test has not: thirty epochs, downloads, a script
#: that installing the package puts there.
STAND_IN = {
    'must-adapt photos': 'python -m must_adapt photos --epochs 1 '
    '--model {start}.json --pretrained {start}.pt'.format(
        start='work_dirs/quickstart/start/tiny_clip'
    ),
    'epoch_30.pth': 'epoch_2.pth',
    '--model ViT-B-16 --pretrained openai': '--model {start}.json '
    '--pretrained {start}.pt'.format(
        start='work_dirs/quickstart/start/tiny_clip'
    ),
}


def commands(page: Path) -> list[str]:
    """Commands of a page's bash blocks, comments and line breaks undone."""
    blocks = re.findall(r'```bash\n(.*?)```', page.read_text(), re.DOTALL)
    lines = '\n'.join(blocks).replace('\\\n', ' ').splitlines()
    lines = (re.sub(r'(^|\s+)#.*', '', line).strip() for line in lines)
    return [line for line in lines if line]


@pytest.fixture(scope='module')
def clone(tmp_path_factory, short_quickstart):
    """A checkout with two epochs instead of thirty."""
    folder = tmp_path_factory.mktemp('clone')
    for name in ('must_mm', 'benchmarks', 'configs', 'tools', 'tests'):
        ignore = shutil.ignore_patterns('__pycache__', '.mim')
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    shutil.copy(ROOT / 'model-index.yml', folder)
    config = folder / 'configs' / 'must' / 'quickstart_digits.py'
    text = config.read_text()
    short = re.sub(r'(epochs = .*), 30\b', r'\1, 2', text)
    assert short != text
    config.write_text(short)
    (folder / 'work_dirs').mkdir()
    (folder / 'classes.txt').write_text('zero\none\n')
    (folder / 'templates.txt').write_text('a photo of the number {}.\n')
    shutil.copytree(short_quickstart, folder / 'work_dirs' / 'quickstart')
    some = sorted((short_quickstart / 'digits' / 'train').rglob('*.png'))[:9]
    (folder / 'photos').mkdir()
    for image in some:
        shutil.copy(image, folder / 'photos')
    return folder


@pytest.mark.slow
def test_readme_runs_as_written(clone, subprocess_env):
    path = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ['PATH']]
    )
    env = dict(subprocess_env, PYTHONPATH=str(clone), PATH=path)
    ran = []
    for command in commands(ROOT / 'README.md'):
        if command.startswith(SET_UP):
            continue
        for shown, used in STAND_IN.items():
            command = command.replace(shown, used)
        done = subprocess.run(
            ['bash', '-c', command],
            cwd=clone,
            env=env,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, (
            f'{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}'
        )
        ran.append(command)
    assert len(ran) > 4


@pytest.mark.parametrize('page', PAGES, ids=str)
def test_other_pages_have_their_test(page):
    name = page.relative_to(ROOT).as_posix()
    if not commands(page):
        return
    assert name in TESTED_IN, f'no test runs the commands of {name}'
    for test in TESTED_IN[name]:
        assert (ROOT / 'tests' / test).is_file()


@pytest.mark.parametrize('page', [ROOT / 'README.md', *PAGES], ids=str)
def test_links_lead_somewhere(page):
    for target in re.findall(r'\]\(([^)#]+)(?:#[^)]*)?\)', page.read_text()):
        if not target.startswith(('http://', 'https://')):
            assert (page.parent / target).exists(), target
