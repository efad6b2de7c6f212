"""A wheel carries configs and tools; set-up scripts are sound shell."""

import subprocess
import sys
import tarfile
import zipfile

import pytest
import yaml

from tests.tiny import ROOT

#: Tools that work with other folders of it, or install its requirements.
FOR_THE_REPOSITORY = (
    'benchmark.py',
    'maect_quickstart.sh',
    'quickstart.sh',
    'run_tests.sh',
    'setup_env.sh',
)


@pytest.fixture(scope='module')
def sdist(tmp_path_factory):
    """A source distribution, built from a copy of the tracked files."""
    source = tmp_path_factory.mktemp('source')
    names = subprocess.run(
        ['git', 'ls-files', '-zco', '--exclude-standard'],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split('\0')  # fmt: skip
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    out = tmp_path_factory.mktemp('sdist')
    build = (
        f'from setuptools import build_meta as b; b.build_sdist({str(out)!r})'
    )
    subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', build],
        cwd=source, stdout=subprocess.DEVNULL, check=True,
    )  # fmt: skip
    return next(out.glob('must_mm-*.tar.gz'))


@pytest.fixture(scope='module')
def wheel(sdist, tmp_path_factory):
    """A wheel, built from nothing but the source distribution."""
    out = tmp_path_factory.mktemp('wheel')
    subprocess.run(
        [
            sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps',
            '--no-build-isolation', '--wheel-dir', str(out), str(sdist),
        ],
        check=True,
    )  # fmt: skip
    return next(out.glob('must_mm-*.whl'))


def test_metadata_is_what_an_index_takes(sdist, wheel):
    done = subprocess.run(
        [sys.executable, '-m', 'twine', 'check', '--strict', sdist, wheel],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_sdist_is_the_repository(sdist):
    with tarfile.open(sdist) as archive:
        inside = {name.partition('/')[2] for name in archive.getnames()}
    for name in ('docs/conf.py', 'tests/data/must_basic.npz', 'CITATION.cff'):
        assert name in inside
    assert not any(name.startswith('docs/api/') for name in inside)


def test_wheel_carries_configs_and_tools(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    for folder in ('configs', 'tools'):
        for path in (ROOT / folder).rglob('*'):
            if path.is_file() and '__pycache__' not in path.parts:
                name = path.relative_to(ROOT).as_posix()
                shipped = path.name not in FOR_THE_REPOSITORY
                assert (f'must_mm/.mim/{name}' in inside) == shipped
    for path in (ROOT / 'must_mm').rglob('*.*'):
        if path.is_file() and not {'.mim', '__pycache__'} & set(path.parts):
            assert path.relative_to(ROOT).as_posix() in inside
    outside = {name.split('/')[0] for name in inside}
    assert not outside & {'tests', 'benchmarks'}, outside
    modules = [name for name in inside if name.startswith('must_mm/')]
    assert not any('/test_' in name for name in modules)
    assert not any('benchmark' in name for name in modules)
    (scripts,) = (n for n in inside if n.endswith('entry_points.txt'))
    text = zipfile.ZipFile(wheel).read(scripts).decode()
    assert 'must-adapt = must_mm_cli.command:main' in text


@pytest.mark.onedl
def test_installed_wheel_finds_its_files(wheel, tmp_path):
    """Unpacked away from the checkout, as an install leaves it.

    And what a third project does with it: names of the zoo, configs that
    begin with ours.
    """
    zipfile.ZipFile(wheel).extractall(tmp_path)
    (tmp_path / 'child.py').write_text(
        "_base_ = ['must_mm::must/vit-b16_dtd.py']\n"
        'train_cfg = dict(max_epochs=1)\n'
    )
    script = (
        'import must_mm\n'
        'from mmengine.config import Config\n'
        'from mmpretrain.registry import DATASETS, MODELS\n'
        'from must_mm.utils.paths import config_path, tool_path\n'
        'path = config_path("must/quickstart_digits.py")\n'
        'print(Config.fromfile(path).model.type, path)\n'
        'print(tool_path("train.py"))\n'
        'names = [*DATASETS.module_dict, *MODELS.module_dict]\n'
        'assert "GTSRB" in names and "MUST" in names\n'
        '# what replays and tests register is not for everyone\n'
        'assert not [name for name in names if "Recorded" in name]\n'
        'from mmpretrain import get_model, list_models\n'
        'cfg = Config.fromfile("child.py")\n'
        'print(cfg.train_cfg.max_epochs, cfg.model.head.num_classes)\n'
        'print(len(list_models("must_*")))\n'
        'model = get_model("must_vit-b32_dtd")\n'
        'print(model.start.classes[0], len(model.start.templates))\n'
    )
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', script],
        cwd=tmp_path, capture_output=True, text=True, check=True,
        env={'PYTHONPATH': str(tmp_path), 'PATH': ''},
    )  # fmt: skip
    lines = done.stdout.strip().splitlines()[-5:]
    assert lines[0].startswith(f'MUST {tmp_path}')
    assert lines[1].startswith(str(tmp_path))
    metafile = yaml.safe_load(
        (ROOT / 'configs' / 'must' / 'metafile.yml').read_text()
    )
    assert lines[2:] == ['1 47', str(len(metafile['Models'])), 'banded 8']


def test_it_says_what_is_missing_where_it_is_installed_alone(wheel, tmp_path):
    """``pip install must_mm``, without an extra and without anything else."""
    subprocess.run(
        [
            sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps',
            '--target', str(tmp_path), str(wheel),
        ],
        check=True,
    )  # fmt: skip
    env = {'PYTHONPATH': str(tmp_path), 'PATH': ''}
    (tmp_path / 'photos').mkdir()
    for command in (
        ['-c', 'import must_mm'],
        ['-m', 'must_mm_cli', 'photos', '--classes', 'cat, dog'],
    ):
        done = subprocess.run(
            [sys.executable, '-S', *command],
            cwd=tmp_path, capture_output=True, text=True, env=env,
        )  # fmt: skip
        assert done.returncode == 1
        assert 'pip install "must_mm[upstream]"' in done.stderr
    assert 'Traceback' not in done.stderr
    assert (tmp_path / 'bin' / 'must-adapt').is_file()


@pytest.mark.parametrize(
    'script',
    sorted((ROOT / 'tools').glob('*.sh')) + [ROOT / '.ci' / 'run'],
    ids=lambda path: path.name,
)
def test_scripts_are_sound_shell(script):
    subprocess.run(['bash', '-n', str(script)], check=True)
