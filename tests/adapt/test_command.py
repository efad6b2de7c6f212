"""The command line: what is said, every fault, and docs/adapt.md."""

import importlib.util
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

import must_mm
from must_mm.adapt.images import SUFFIXES
from must_mm.adapt.result import ToReview, Trust, load_lines, summary
from must_mm.adapt.task import check, check_model, save
from must_mm_cli import options as checks
from must_mm_cli.command import main, parse_args
from must_mm_cli.options import Options, check_given, check_out, load
from tests.adapt.results import prediction, two_images
from tests.adapt.test_run import exported
from tests.tiny import ROOT

PAGE = (ROOT / 'docs' / 'adapt.md').read_text()
NAMES = 'ant, bee, cat, dog'
ANIMALS = ('red panda', 'raccoon', 'badger')


@pytest.fixture
def line(options, tmp_path):
    """Arguments of a run, for changing."""
    return {
        'IMAGES': options['images'],
        '--classes': NAMES,
        '--model': options['model'],
        '--pretrained': options['pretrained'],
        '--epochs': '1',
        '--runs': '1',
        '--out': str(tmp_path / 'out'),
    }


def fails(line: dict, capsys, *flags, **changes) -> str:
    """Run with changed arguments, expect an error, return what it says."""
    line = dict(line)
    for key, value in changes.items():
        key = 'IMAGES' if key == 'images' else '--' + key.replace('_', '-')
        line[key] = str(value)
    images = line.pop('IMAGES')
    argv = [images, *flags, *(text for pair in line.items() for text in pair)]
    assert main(argv) == 1
    said = capsys.readouterr().err
    assert said.startswith('must-adapt: ') and 'Traceback' not in said
    return said


def test_options_are_those_of_the_function():
    args = parse_args('x --classes a,b --class-prior a=1,b=2 --onnx'.split())
    given = vars(args)
    assert given.pop('resume') is None and given.pop('dry_run') is False
    assert given.pop('predict') is None
    made = Options(**given)
    assert made.class_prior == 'a=1,b=2' and made.onnx
    assert made.model == Options.model


@pytest.mark.parametrize(
    'argv, status',
    [
        (['--help'], 0),
        (['--version'], 0),
        (['x', '--classes', 'a, b', '--no-such-option'], 2),
        (['no such folder', '--classes', 'a, b'], 1),
        (['.', '--classes', 'a, b', '--epochs', '0'], 1),
        (['--resume', 'no such folder'], 1),
    ],
)
def test_what_needs_no_library_is_said_without(argv, status):
    """Importing torch and MMPretrain would take seconds."""
    script = (
        'import sys\n'
        'from must_mm_cli.command import main\n'
        'try:\n'
        f'    status = main({argv!r})\n'
        'except SystemExit as error:\n'
        '    status = error.code\n'
        'heavy = {"torch", "numpy", "mmengine"} & set(sys.modules)\n'
        'assert not heavy, heavy\n'
        'sys.exit(status)\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', script], cwd=ROOT, capture_output=True
    )
    assert done.returncode == status, done.stderr.decode()


@pytest.mark.parametrize(
    'argv',
    [
        ['x'],
        ['--classes', 'a,b'],
        ['x', '--classes', 'a,b', '--resume', 'y'],
        ['--resume', 'y', '--epochs', '3'],
        ['x', '--resume', 'y', '--dry-run'],
        ['--resume', 'y', '--labels', 'z', '--seed', '0'],
    ],
)
def test_what_belongs_together(argv, capsys):
    with pytest.raises(SystemExit) as error:
        parse_args(argv)
    assert error.value.code == 2
    assert '--resume' in capsys.readouterr().err


@pytest.mark.parametrize(
    'argv',
    [
        ['--predict', 'y'],
        ['x', '--predict', 'y', '--classes', 'a,b'],
        ['x', '--predict', 'y', '--epochs', '3'],
        ['x', '--predict', 'y', '--dry-run'],
        ['x', '--predict', 'y', '--resume', 'z'],
    ],
)
def test_predict_trains_nothing(argv, capsys):
    with pytest.raises(SystemExit):
        parse_args(argv)
    assert 'goes' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('argv', 'said'),
    [
        ('photos --classes ant bee cat', "--classes 'ant, bee, cat'"),
        ('photos --classes ant, bee --onnx', "--classes 'ant, bee'"),
        ('--classes ant bee cat .', "--classes 'ant, bee, cat'"),
        ('--templates a{} photos --classes a,b', "has taken 'photos'"),
        ('photos --classes a,b --seeds 3', 'arguments: --seeds'),
        ('photos more --classes a,b', 'arguments: more'),
    ],
)
def test_words_in_the_wrong_place(argv, said, capsys):
    with pytest.raises(SystemExit):
        parse_args(argv.split())
    err = capsys.readouterr().err
    assert said in err and err.count('\n') == 4  # and how it is used


def test_the_version(capsys):
    with pytest.raises(SystemExit):
        main(['--version'])
    assert capsys.readouterr().out == f'must_mm {must_mm.__version__}\n'


def write_png(path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (4, 4)).save(path)
    return path


def test_faults_of_the_images(line, tmp_path, capsys):
    assert 'does not exist' in fails(line, capsys, images=tmp_path / 'gone')
    file = write_png(tmp_path / 'file.png')
    assert 'is a file' in fails(line, capsys, images=file)
    empty = tmp_path / 'empty'
    empty.mkdir()
    assert 'no images below' in fails(line, capsys, images=empty)
    shutil.copy(file, empty / 'one.png')
    assert '1 of 1' in fails(line, capsys, images=empty)
    (empty / 'one.png').write_bytes(b'')
    said = fails(line, capsys, images=empty)
    assert '0 of 1' in said and 'one.png: the file is empty' in said
    # nothing was left behind that would stand in the way
    assert not any((tmp_path / 'out').iterdir())


def test_faults_of_the_options(line, tmp_path, capsys):
    for changes, message in (
        (dict(classes='ant'), '--classes has one name'),
        (dict(templates='a photo'), '--templates'),
        (dict(class_prior='ant=1'), '--class-prior'),
        (dict(fairness_weight='-1'), '--fairness-weight'),
        (dict(epochs='0'), '--epochs'),
        (dict(seed='-1'), r'--seed must lie in \[0, 4294967295\]'),
        (dict(seed=2**32), '--seed'),
        (dict(eval=tmp_path / 'gone'), '--eval'),
        (dict(model='/nowhere/clip.json'), '--model.*no file'),
        (dict(model='/nowhere/must.py'), '--model.*no config'),
        (dict(model='vit-b-61'), 'Did you mean .*ViT-B-16'),
        (dict(pretrained='/nowhere.pt'), '--pretrained.*local file'),
    ):
        assert re.search(message, fails(line, capsys, **changes)), changes
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('flags', [[], ['--dry-run']])
def test_a_must_config_has_its_own_start(line, tmp_path, capsys, flags):
    own = tmp_path / 'own.py'
    own.write_text('')
    said = fails(line, capsys, *flags, model=own)
    assert f'--pretrained cannot be given with --model {own}' in said
    del line['--pretrained']
    said = fails(line, capsys, *flags, model=own, templates='a {}.')
    assert f'--templates cannot be given with --model {own}' in said
    assert not (tmp_path / 'out').exists()


def test_a_file_that_is_no_model_config(line, tmp_path, capsys):
    broken = tmp_path / 'broken.json'
    broken.write_text('{')
    said = fails(line, capsys, model=broken)
    assert f'--model: {broken} is no open_clip model config' in said


def test_damaged_weights(line, tmp_path, capsys):
    """The config's key is named as the option."""
    weights = tmp_path / 'bad.pt'
    weights.write_bytes(b'no weights')
    said = fails(line, capsys, pretrained=weights)
    assert '--pretrained' in said and 'model.start' not in said
    assert not (tmp_path / 'out').exists()


def test_tags_are_suggested():
    with pytest.raises(ValueError, match='Did you mean openai'):
        check_model('ViT-B-16', 'opanai')


def test_out_that_is_used_or_cannot_be_written(line, tmp_path, capsys):
    used = tmp_path / 'used'
    used.mkdir()
    (used / 'x').write_text('')
    assert 'not empty; give another' in fails(line, capsys, out=used)
    (used / 'options.json').write_text('{}')
    assert f'--resume {used}' in fails(line, capsys, out=used)
    for flags in ([], ['--dry-run']):  # below a file
        out = used / 'x' / 'out'
        assert '--out' in fails(line, capsys, *flags, out=out)
    assert sorted(p.name for p in used.iterdir()) == ['options.json', 'x']


def test_out_without_the_right_to_write(tmp_path, monkeypatch):
    def refuse(**kwargs):
        raise PermissionError('Permission denied')

    monkeypatch.setattr(checks.tempfile, 'TemporaryFile', refuse)
    with pytest.raises(OSError, match='--out .*Permission denied'):
        check_out(tmp_path / 'out')


def test_onnx_without_its_packages(line, capsys, monkeypatch):
    monkeypatch.setattr(checks.importlib.util, 'find_spec', lambda _: None)
    assert 'must_mm[onnx]' in fails(line, capsys, '--onnx')


def test_resume_without_a_run(tmp_path, capsys):
    assert main(['--resume', str(tmp_path)]) == 1
    assert 'no run to go on with' in capsys.readouterr().err
    (tmp_path / 'options.json').write_text('{"images": ')
    assert main(['--resume', str(tmp_path)]) == 1
    assert 'damaged' in capsys.readouterr().err


def test_images_that_have_moved_are_asked_for(line, tmp_path, capsys):
    photos, out = tmp_path / 'photos', tmp_path / 'out'
    photos.mkdir()
    names = dict(model=line['--model'], pretrained=line['--pretrained'])
    save(check(Options(str(photos), NAMES, **names)), out)
    photos.rename(tmp_path / 'moved')
    assert main(['--resume', str(out)]) == 1
    said = capsys.readouterr().err
    assert f'{photos}, does not exist' in said
    assert f'must-adapt FOLDER --resume {out}' in said
    assert main([str(tmp_path / 'moved'), '--resume', str(out)]) == 1
    assert 'no images below' in capsys.readouterr().err


def test_ctrl_c_says_how_to_go_on(line, tmp_path, capsys, monkeypatch):
    """The signal itself, while it predicts."""

    def interrupted(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(30)  # another thread may be the one to receive it
        raise AssertionError('the signal was ignored')

    monkeypatch.setattr('must_mm.adapt.passes.look', interrupted)
    images = line.pop('IMAGES')
    argv = [images, *(text for pair in line.items() for text in pair)]
    # the tests themselves may run in the background, where it is ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert main(argv) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    out = tmp_path / 'out'
    said = capsys.readouterr()
    assert f'must-adapt --resume {out}' in said.err
    assert (out / 'options.json').is_file()
    # what was left out was said before
    assert 'skipped cut.png: ' in said.out
    assert 'note: not looked at: 1 .txt' in said.out


def test_the_end_shows_the_outcome(adapted, capsys):
    out, result = adapted
    text = summary(result, out)
    assert 'images changed class' in text and 'adapted (student)' in text
    assert '1 images could not be read' in text
    assert f'must-adapt NEWPHOTOS --predict {out}' in text
    lines = text.partition('in Python:\n')[2]
    assert lines.count('\n') == 3
    compile(lines, 'lines', 'exec')
    # that of this run, whatever others are there
    (out / 'model-0.pth').write_bytes(b'')
    try:
        assert summary(result, out) == text
    finally:
        (out / 'model-0.pth').unlink()
    state = json.loads((out / 'result.json').read_text())
    assert out / state['weights'] == result.weights == exported(out)
    assert str(result.weights) in lines


def test_the_command_of_the_end_can_be_pasted(tmp_path):
    out = tmp_path / 'out put'
    result = two_images(
        settings={'exported network': 'student'},
        weights=out / 'model-1.pth',
        trust=Trust(review=[ToReview(prediction(0, 0), [0, 1])]),
    )
    text = summary(result, out)
    assert f"--resume '{out}' --labels ~/Downloads/" in text


def commands() -> list[str]:
    blocks = re.findall('```bash\n(.*?)```', PAGE, re.DOTALL)
    lines = '\n'.join(blocks).replace('\\\n', ' ').splitlines()
    lines = [re.sub(' +', ' ', line) for line in lines]
    return [line for line in lines if line.startswith('must-adapt')]


def test_commands_of_the_page(options, photos, tmp_path, monkeypatch, capsys):
    """Each is run; a toy model, its images and one epoch stand in."""
    toy = f'--model {options["model"]} --pretrained {options["pretrained"]}'
    monkeypatch.chdir(tmp_path)
    for folder in ('photos', 'photos_with_labels', 'new_photos'):
        for there, name in zip(('ant', 'bee', 'cat'), ANIMALS, strict=True):
            shutil.copytree(photos / there, tmp_path / folder / name)
    (tmp_path / 'classes.txt').write_text('\n'.join(ANIMALS))
    shown = commands()
    assert len(shown) == 7
    for text in shown:
        if '--resume' not in text and '--predict' not in text:
            text = text.replace(
                '--model ViT-B-32 --pretrained ViT-B-32.pt', ''
            )
            text = f'{text} {toy} --epochs 1'
            if '--runs' not in text:
                text += ' --runs 1'
        if '--labels adapted/review.csv' in text:  # filled in
            lines = (tmp_path / 'adapted/predictions.csv').read_text()
            first = lines.splitlines()[1].split(',')[0]
            (tmp_path / 'adapted' / 'review.csv').write_text(
                f'path,label\n{first},raccoon\n'
            )
        status = main(shlex.split(text)[1:])
        assert status == 0, f'{text}: {capsys.readouterr().err}'
    for folder, files in (('adapted', 2), ('offline', 3)):
        assert len(list((tmp_path / folder).glob('model-*'))) == files
    assert not (tmp_path / 'again').exists()


def test_every_suffix_is_on_the_page():
    for suffix in SUFFIXES:
        assert f'`{suffix}`' in PAGE, suffix


def test_every_option_is_on_the_page():
    with pytest.raises(SystemExit):
        parse_args(['--help'])
    for name in Options.__dataclass_fields__:
        if name != 'images':
            assert f'`--{name.replace("_", "-")}' in PAGE, name


def test_a_folder_of_weights(options, tmp_path):
    """As open_clip saves it: it brings its weights and its function."""
    folder = tmp_path / 'clip'
    folder.mkdir()
    shutil.copy(options['pretrained'], folder / 'open_clip_model.pt')
    model = json.loads(Path(options['model']).read_text())
    (folder / 'open_clip_config.json').write_text(
        json.dumps(dict(model_cfg=model, preprocess_cfg={}))
    )
    given = dict(
        images=options['images'], classes='ant, bee', model=str(folder)
    )
    task = check(Options(**given))
    assert task.start == dict(model=str(folder)) and task.notes == ()
    with pytest.raises(ValueError, match='--pretrained cannot be given'):
        check_given(Options(**given), dict(pretrained='openai'))
    save(task, tmp_path)
    assert load(tmp_path).model == str(folder)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'version https://git-lfs.github.com/spec/v1', 'Git LFS pointer'),
        (b'<!DOCTYPE html>', 'web page'),
        (b'', 'is empty'),
    ],
)
def test_no_weights_are_said_at_once(line, tmp_path, capsys, content, message):
    file = tmp_path / 'x.safetensors'
    file.write_bytes(content)
    said = fails(line, capsys, '--dry-run', pretrained=file)
    assert f'--pretrained: {file} ' in said and message in said
    assert said.count('\n') == 1


def test_siglip_without_transformers_is_said_at_once(
    line, capsys, monkeypatch
):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    del line['--pretrained']
    model = 'ViT-B-16-SigLIP'
    said = fails(line, capsys, '--dry-run', model=model, pretrained='webli')
    assert '--model' in said and 'must_mm[siglip]' in said


def test_clutter_does_not_fill_a_folder(tmp_path):
    (tmp_path / '.DS_Store').write_bytes(b'Bud1')
    check_out(tmp_path)
    (tmp_path / '.x.partial').write_bytes(b'')
    with pytest.raises(ValueError, match='not empty'):
        check_out(tmp_path)


def test_printed_python_is_valid_for_any_path(tmp_path):
    out = tmp_path / 'O\'Brien \\ {x}\n"photos"'
    seen = []
    lines = load_lines(out / 'model-1.pth').splitlines()
    names = dict(ImageClassificationInferencer=lambda *a: seen.append(a))
    exec(lines[2], names)
    model = str(out / 'model-1')
    assert seen == [(f'{model}.py', f'{model}.pth')]


def test_a_screen_that_cannot_show_a_name(monkeypatch, tmp_path):
    screens = []
    for name in ('stdout', 'stderr'):
        screen = io.TextIOWrapper(io.BytesIO(), encoding='ascii')
        monkeypatch.setattr(sys, name, screen)
        screens.append(screen)
    folder = tmp_path / 'Ünïcödé 😀'
    assert main([str(folder), '--classes', 'a,b']) == 1
    screens[1].flush()
    said = screens[1].buffer.getvalue().decode('ascii')
    assert 'does not exist' in said and '\\xdc' in said


def test_ctrl_c_while_a_checkpoint_is_written(
    line, tmp_path, capsys, monkeypatch
):
    """torch ends its archive, and says what is wrong with that."""

    def write(*args, **kwargs):
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError('unexpected pos 64 vs 0')

    monkeypatch.setattr('must_mm.adapt.training.train', write)
    images = line.pop('IMAGES')
    argv = [images, *(text for pair in line.items() for text in pair)]
    assert main(argv) == 130
    said = capsys.readouterr().err
    assert 'stopped; go on with' in said and 'unexpected' not in said


def test_an_unwritable_cache_is_named(line, tmp_path, capsys, monkeypatch):
    file = tmp_path / 'file'
    file.write_text('')
    monkeypatch.setenv('MUST_MM_CACHE', str(file / 'cache'))
    said = fails(line, capsys, classes='ant, a name that is new here')
    assert 'set MUST_MM_CACHE to another folder' in said


def test_relative_paths_are_kept_from_the_root(options, tmp_path, monkeypatch):
    shutil.copy(options['model'], tmp_path / 'toy_clip.json')
    shutil.copy(options['pretrained'], tmp_path / 'toy_clip.pt')
    monkeypatch.chdir(tmp_path)
    task = check(
        Options(
            options['images'],
            'ant, bee',
            model='toy_clip.json',
            pretrained='toy_clip.pt',
        )
    )
    expected = dict(
        model=str(tmp_path / 'toy_clip.json'),
        pretrained=str(tmp_path / 'toy_clip.pt'),
    )
    assert task.start == expected
    save(task, tmp_path)
    monkeypatch.chdir('/')
    assert check(load(tmp_path)).start == expected


def test_names_longer_than_the_context_are_said(options):
    long = 'zero, which is round and looks like the letter O, of type'
    given = {k: options[k] for k in ('images', 'model', 'pretrained')}
    task = check(Options(classes=[f'{long} 1', f'{long} 2', 'one'], **given))
    (note,) = task.notes
    assert '2 class names are longer than the 8 tokens' in note
    assert 'is the same' in note
    assert check(Options(classes=['ant', 'bee'], **given)).notes == ()


def test_an_archive_is_to_be_unpacked(tmp_path, capsys):
    (tmp_path / 'photos.zip').write_bytes(b'PK')
    assert main([str(tmp_path / 'photos.zip'), '--classes', 'a,b']) == 1
    assert 'is an archive: unpack it' in capsys.readouterr().err
