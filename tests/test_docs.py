"""Every command that README and docs show does what it says.

Each fenced ``bash`` block is run line by line in a folder that looks like a
clean clone after the quickstart. Lines that set up whole environments are
the exception: what they call is tested elsewhere (see ``SET_UP``).
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import ROOT

PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
SET_UP = (
    'bash tools/quickstart.sh',  # test_quickstart.py, but for the packages
    'bash tools/run_tests.sh',  # this very run
    'pip install ',  # test_packaging.py
)


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
    for name in ('must_mm', 'configs', 'tools', 'tests'):
        ignore = shutil.ignore_patterns('__pycache__', '.mim')
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    config = folder / 'configs' / 'must' / 'quickstart_digits.py'
    text = config.read_text()
    short = re.sub(r'(epochs = .*), 30\b', r'\1, 2', text)
    assert short != text
    config.write_text(short)
    (folder / 'work_dirs').mkdir()
    shutil.copytree(short_quickstart, folder / 'work_dirs' / 'quickstart')
    return folder


@pytest.mark.slow
@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_commands_run_as_written(page, clone, subprocess_env):
    path = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ['PATH']]
    )
    env = dict(subprocess_env, PYTHONPATH=str(clone), PATH=path)
    ran = []
    for command in commands(page):
        if command.startswith(SET_UP):
            continue
        command = command.replace('epoch_30.pth', 'epoch_2.pth')
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
    assert ran, f'{page.name} shows no command'


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r'\]\(([^)#]+)(?:#[^)]*)?\)', page.read_text()):
        if not target.startswith(('http://', 'https://')):
            assert (page.parent / target).exists(), target
