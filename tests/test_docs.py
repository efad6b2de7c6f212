"""The commands that README and docs show work.

Those of the README and of the first page are run here line by line, in a
folder that looks like a clean clone after the quickstart. Lines that set up
whole environments are the exception (see ``SET_UP``). Of the other pages,
which the tests of what they describe run at a small size, every tool, option
and file that a command names is asked for here.
"""

import io
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from functools import cache
from itertools import chain
from pathlib import Path
from unittest import mock

import pytest

from tests.tiny import ROOT

PAGES = [
    ROOT / 'CONTRIBUTING.md',
    *sorted((ROOT / 'docs').glob('*.md')),
    *sorted((ROOT / 'docs' / 'notebooks').glob('*.md')),
    *sorted((ROOT / 'configs').glob('*/README.md')),
    *sorted((ROOT / 'benchmarks').rglob('*.md')),
]
#: Whose commands run one after the other, in one folder.
STORY = [ROOT / 'README.md', ROOT / 'docs' / 'get_started.md']
SET_UP = (
    'bash tools/quickstart.sh',  # test_quickstart.py, but for the packages
    'bash tools/run_tests.sh',  # this very run
    'pip install ',  # test_packaging.py
)
#: What a user has and a test has not: thirty epochs, downloads, a script
#: that installing the package puts there.
STAND_IN = {
    'must-adapt photos': 'python -m must_mm_cli photos --epochs 1 --runs 1 '
    '--model {start}.json --pretrained {start}.pt'.format(
        start='work_dirs/quickstart/start/tiny_clip'
    ),
    'epoch_30.pth': 'epoch_1.pth',
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
    """A checkout with one epoch instead of thirty."""
    folder = tmp_path_factory.mktemp('clone')
    for name in (
        'must_mm_cli',
        'must_mm',
        'benchmarks',
        'configs',
        'tools',
        'tests',
    ):
        ignore = shutil.ignore_patterns('__pycache__', '.mim')
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    shutil.copy(ROOT / 'model-index.yml', folder)
    config = folder / 'configs' / 'must' / 'quickstart_digits.py'
    text = config.read_text()
    short = re.sub(r'(epochs = .*), 30\b', r'\1, 1', text)
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
    for command in dict.fromkeys(chain(*map(commands, STORY))):
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


@cache
def help_of(*argv: str) -> str:
    """What a command says of its options, run in this process."""
    module = argv[0] == '-m'
    name, *more = argv[1:] if module else argv
    said = io.StringIO()
    run = runpy.run_module if module else runpy.run_path
    with (
        mock.patch.object(sys, 'argv', [name, *more, '--help']),
        mock.patch.object(sys, 'path', [*sys.path]),
        redirect_stdout(said),
        pytest.raises(SystemExit) as ended,
    ):
        run(name if module else str(ROOT / name), run_name='__main__')
    assert not ended.value.code, argv
    return said.getvalue()


def program_of(words: list[str]) -> tuple[str, ...]:
    """The words of a command that name what runs, parts of a tool too."""
    if words[0] == 'must-adapt':
        return ('-m', 'must_mm_cli')
    count = 2 if words[1] == '-m' else 1
    if words[count] in ('tools/benchmark.py', 'tools/analyze_logs.py'):
        count += 1
    return tuple(words[1 : count + 1])


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_commands_name_what_there_is(page):
    for command in commands(page):
        words = shlex.split(re.sub(r'^(\w+=\S+\s*)+', '', command))
        for word in words:
            if word.startswith(('configs/', 'tests/', 'tools/')):
                assert (ROOT / word).exists(), command
        if not words or words[0] not in ('python', 'must-adapt'):
            continue
        program = program_of(words)
        if program == ('-m', 'pytest'):
            continue
        said = help_of(*program)
        for word in words:
            if word.startswith('--'):
                assert re.search(rf'{word}\b', said), f'{word}: {command}'


def anchors(page: Path) -> set[str]:
    """The anchors that forges give to a page's headings."""
    text = re.sub(r'```.*?```', '', page.read_text(), flags=re.DOTALL)
    headings = re.findall(r'^#+ (.*)$', text, re.MULTILINE)
    kept = (re.sub(r'[^\w\- ]', '', head.lower()) for head in headings)
    return {head.strip().replace(' ', '-') for head in kept}


@pytest.mark.parametrize('page', [ROOT / 'README.md', *PAGES], ids=str)
def test_links_lead_somewhere(page):
    for target in re.findall(r'\]\(([^)\s]+)\)', page.read_text()):
        if target.startswith(('http://', 'https://')):
            continue
        path, _, anchor = target.partition('#')
        path = page.parent / path if path else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target
