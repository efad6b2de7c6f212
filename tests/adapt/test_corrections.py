"""Whole runs that are several, leave images out, or go on with labels."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from must_mm.adapt import adapt, dry_run, resume
from must_mm.adapt.corrections import (
    finished,
    goes_on_from,
    known_labels,
    training_count,
    without_their_labels,
    write_state,
)
from must_mm.adapt.labels import Known
from must_mm.adapt.lesson import Lesson
from must_mm.adapt.outcome import (
    agreeing,
    labels_at_hand,
    together,
    write_result,
)
from must_mm.adapt.plan import Images
from must_mm.adapt.said import Said, keep, recall
from must_mm.adapt.task import check, save
from must_mm.checkpoints.plain import load_tensors
from must_mm.weights.publish import load_published
from must_mm_cli.command import main
from must_mm_cli.corrected import corrected_folder
from must_mm_cli.options import Options, load
from tests.adapt.results import two_images
from tests.adapt.test_run import Stop, exported, stop_after
from tests.tiny import CLASSES, assert_same_tensors


def rows(path) -> list[dict]:
    with path.open(encoding='utf-8-sig', newline='') as file:
        return list(csv.DictReader(file))


def label(out, count: int, truth=lambda name: name.split('/')[0]):
    """Fill in the first images of ``review.csv``, as a person does."""
    asked = rows(out / 'review.csv')
    lines = ['path,label']
    lines += [f'{row["path"]},{truth(row["path"])}' for row in asked[:count]]
    path = out.parent / 'labels.csv'
    path.write_text('\n'.join(lines) + '\n')
    return path, [row['path'] for row in asked[:count]]


def goes_wrong(monkeypatch, *turns: str) -> None:
    """Let networks go wrong, in the order in which they are judged."""
    found = iter(turns)
    monkeypatch.setattr(
        'must_mm.adapt.answer.gone_wrong', lambda *_: next(found)
    )


@pytest.fixture(scope='module')
def first(options, labelled, tmp_path_factory):
    """Two runs, a fifth of the images left out."""
    out = tmp_path_factory.mktemp('first') / 'out'
    result = adapt(
        **{**options, 'runs': 2},
        out=str(out),
        eval=str(labelled),
        reject=0.25,
        review=6,
    )
    return out, result


def test_several_runs_are_asked_together(first):
    out, result = first
    assert (out / 'run').is_dir() and (out / 'run-2').is_dir()
    checkpoints = [
        load_tensors(next((out / run).glob('epoch_*.pth')))['state_dict']
        for run in ('run', 'run-2')
    ]
    name = 'head.classifier'
    assert not torch.equal(checkpoints[0][name], checkpoints[1][name])
    assert result.trust.runs == 2
    assert {p.agreement for p in result.predictions} <= {0.0, 0.5, 1.0}


def test_runs_teach_the_network_that_is_exported(first):
    out, result = first
    listed = (out / 'taught.txt').read_text().splitlines()
    trained = (out / 'trained.txt').read_text().splitlines()
    assert [line.rsplit(' ', 1)[0] for line in listed] == trained
    assert 'taught' in result.settings['exported run']
    assert result.seconds['teaching'] > 0
    checkpoint = finished(out)
    assert checkpoint.parent.name == 'run-taught'
    state = load_tensors(checkpoint)['state_dict']
    model = load_published(
        exported(out), exported(out).with_suffix('.py')
    ).state_dict()
    name = 'backbone.layers.0.ffn.layers.1.weight'
    assert torch.equal(model[name], state[name])
    # the curves are of a run that finds its labels itself
    assert min(value for _, value in result.curves['conf_ratio']) < 1


def test_stopped_while_the_student_learns(
    options, tmp_path, monkeypatch, first
):
    out, _ = first
    stopped, renamed = tmp_path / 'stopped', tmp_path / 'renamed'
    with monkeypatch.context() as patch:
        stop_after(patch, 2, 'run-taught')
        with pytest.raises(Stop):
            adapt(**{**options, 'runs': 2}, out=str(stopped), reject=0.25)
    assert list((stopped / 'run-taught').glob('epoch_*.pth'))
    stopped.rename(renamed)
    resume(renamed)
    assert exported(renamed).name == exported(out).name


def test_a_run_that_went_wrong_is_named(options, tmp_path, monkeypatch):
    goes_wrong(monkeypatch, '', 'all are cats', '')
    result = adapt(**{**options, 'runs': 2}, out=str(tmp_path / 'out'))
    (warning,) = (w for w in result.warnings if 'went wrong' in w)
    assert warning.startswith('run 2: ') and 'all are cats' in warning
    assert not result.fallback  # the student is sound


def test_a_student_that_went_wrong_is_not_exported(
    options, tmp_path, monkeypatch
):
    """Then the run speaks that agrees best with all."""
    goes_wrong(monkeypatch, '', '', 'all are cats')
    result = adapt(**{**options, 'runs': 2}, out=str(tmp_path / 'out'))
    assert result.settings['exported run'] in ('1 of 2', '2 of 2')
    (warning,) = (w for w in result.warnings if 'all are cats' in w)
    assert warning.startswith('what the runs taught together is not used')
    assert not result.fallback


def test_runs_that_all_went_wrong_teach_nobody(options, tmp_path, monkeypatch):
    goes_wrong(monkeypatch, 'all are cats', 'all are dogs')
    out = tmp_path / 'out'
    result = adapt(**{**options, 'runs': 2}, out=str(out))
    assert not (out / 'run-taught').exists()
    assert result.fallback.startswith('Self-training went wrong')


def test_side_by_side_runs_end_like_those_in_turn(
    first, options, tmp_path, monkeypatch
):
    """Processes of their own, on GPUs that are pretended."""
    monkeypatch.setattr('must_mm.adapt.training.gpus', lambda: ['0', '1'])
    # as this process: the order of sums depends on the number of threads
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    out = tmp_path / 'out'
    adapt(**{**options, 'runs': 2}, out=str(out), reject=0.25)
    for run in ('run', 'run-2'):
        ours, theirs = (
            load_tensors(next((folder / run).glob('epoch_*.pth')))
            for folder in (out, first[0])
        )
        assert_same_tensors(ours['state_dict'], theirs['state_dict'])
    assert exported(out).name == exported(first[0]).name


def test_rejected_images_do_not_train(first):
    out, result = first
    table = rows(out / 'predictions.csv')
    rejected = {row['path'] for row in table if row['note'] == 'rejected'}
    trained = (out / 'trained.txt').read_text().splitlines()
    assert len(rejected) == 6 and len(table) == 24
    assert set(trained) == {row['path'] for row in table} - rejected
    cfg = Config.fromfile(out / 'config.py')
    assert cfg.train_dataloader.dataset.ann_file.endswith('trained.txt')
    assert cfg.test_dataloader.dataset.ann_file.endswith('labelled.txt')
    # they are the strangest, and have a class all the same
    strange = sorted(table, key=lambda row: -float(row['strangeness']))
    assert {row['path'] for row in strange[:6]} == rejected
    assert not rejected & {p.prediction.name for p in result.trust.review}


def test_the_review_is_beside_the_report(first):
    out, result = first
    asked = rows(out / 'review.csv')
    assert len(asked) == len(result.trust.review) == 6
    assert all(row['label'] == '' for row in asked)
    page = (out / 'report.html').read_text()
    assert f'must-adapt --resume {out} --labels ~/Downloads' in page


def test_labels_that_were_forgotten_stay(tmp_path):
    """--resume alone, when they are in review.csv already."""
    path = tmp_path / 'review.csv'
    result = two_images(out=tmp_path)
    path.write_text('path,label,class\na.png,,ant\n')
    assert labels_at_hand(tmp_path) == []
    write_result(result)
    assert 'a.png' not in path.read_text()  # as no image is to be reviewed
    filled = 'path,label\na.png,bee\n'
    path.write_text(filled)
    write_result(result)
    assert path.read_text() == filled
    (said,) = labels_at_hand(tmp_path)
    assert f'--resume {tmp_path} --labels {path}' in said


def test_corrections_go_on_from_the_result(first, labelled, photos):
    out, before = first
    file, names = label(out, 5)
    after = resume(out, file)
    new = out / 'corrected-1'
    cfg = Config.fromfile(new / 'config.py')
    assert cfg.load_from == str(finished(out))
    assert cfg.train_cfg.max_epochs == 1  # a third of what was asked for
    assert cfg.model.label_loss.type == 'LabelLoss'
    assert cfg.train_dataloader.sampler.type == 'LabelledShareSampler'
    assert 'loss_lab' in after.curves
    assert not {'conf_ratio', 'pseudo_label_acc'} & after.curves.keys()
    page = (new / 'report.html').read_text()
    assert 'Loss on labels' in page and 'chooses its own labels' not in page
    # nothing is trained but what is exported, and the runs are remembered
    assert not list((new / 'run').glob('epoch_*.pth'))
    assert finished(new).parent.name == 'run-taught'
    assert after.trust.runs == 2
    assert {p.agreement for p in after.predictions} <= {0.0, 0.5, 1.0}
    taught = (new / 'taught.txt').read_text().splitlines()
    assert {f'{n} {CLASSES.index(n.split("/")[0])}' for n in names} <= set(
        taught
    )
    # what a person said is what is said
    table = {row['path']: row for row in rows(new / 'predictions.csv')}
    for name in names:
        assert table[name]['class'] == name.split('/')[0]
        assert table[name]['note'] == 'labelled'
    # and none of it is measured or asked for again
    known = [name for name in names if name.split('/')[0] in CLASSES[:2]]
    counted = sum(map(sum, after.evaluation.after))
    assert counted == 12 - len(known)
    assert not set(names) & {p.prediction.name for p in after.trust.review}
    # beside what was corrected, on the same images
    corrected = after.corrected
    assert 0 <= corrected.changed <= 24
    assert sum(map(sum, corrected.confusion)) == counted
    assert 'The correction changed' in (new / 'report.html').read_text()
    assert before.corrected is None
    # the first result is as it was
    assert (out / 'report.html').is_file() and exported(out).is_file()

    # once more, from the corrected one: labels add up, folders do not nest
    file, more = label(new, 2)
    again = resume(new, file)
    cfg = Config.fromfile(out / 'corrected-2' / 'config.py')
    assert cfg.train_cfg.max_epochs == 1
    found = {p.name for p in again.predictions if p.note == 'labelled'}
    assert found == set(names) | set(more)


def test_a_stopped_correction_ends_like_an_uninterrupted_one(
    first, photos, tmp_path, monkeypatch
):
    """Also where the result has another name, and the images have moved."""
    out, _ = first
    file, _ = label(out, 4)
    copies = [tmp_path / name for name in ('whole', 'stopped')]
    for copy in copies:
        shutil.copytree(
            out, copy, ignore=shutil.ignore_patterns('corrected-*')
        )
    resume(copies[0], file)
    with monkeypatch.context() as patch:
        stop_after(patch, 1, 'run-taught')
        with pytest.raises(Stop):
            resume(copies[1], file)
    with pytest.raises(ValueError, match='has not ended.*corrected-1'):
        resume(copies[1], file)
    file.unlink()  # what was said is kept
    renamed = copies[1].rename(tmp_path / 'renamed') / 'corrected-1'
    moved = tmp_path / 'moved'
    shutil.copytree(photos, moved)
    result = resume(renamed, images=moved)
    assert {p.path.parent.parent for p in result.predictions} == {moved}
    cfg = Config.fromfile(renamed / 'config.py')
    assert cfg.load_from == str(finished(renamed.parent))
    assert cfg.train_dataloader.dataset.data_root == str(moved)
    assert load(renamed).images == str(moved)
    whole = load_tensors(exported(copies[0] / 'corrected-1'))
    assert_same_tensors(load_tensors(exported(renamed)), whole)


def copy_of(first, tmp_path):
    copy = tmp_path / 'copy'
    shutil.copytree(
        first[0], copy, ignore=shutil.ignore_patterns('corrected-*')
    )
    return copy


def test_a_correction_that_goes_wrong_is_undone(first, tmp_path, monkeypatch):
    """Exported is what was corrected, not the start."""
    out = copy_of(first, tmp_path)
    file, _ = label(out, 4)
    goes_wrong(monkeypatch, 'all are cats')
    result = resume(out, file)
    assert 'all are cats' in result.fallback
    assert 'is the result that it went on from, as it was' in result.fallback
    undone = load_tensors(exported(out / 'corrected-1'))
    assert_same_tensors(undone, load_tensors(exported(out)))


def test_what_the_runs_have_said_is_needed(first, tmp_path):
    out = copy_of(first, tmp_path)
    file, _ = label(out, 4)
    (out / 'said.pth').unlink()
    with pytest.raises(ValueError, match='said.pth is missing.*--resume'):
        resume(out, file)
    resume(out)  # as it says
    assert resume(out, file).corrected


def test_a_single_run_is_corrected(adapted, tmp_path):
    out = copy_of(adapted, tmp_path)
    file, names = label(out, 4)
    result = resume(out, file)
    assert result.trust.runs == 1
    assert finished(out / 'corrected-1').parent.name == 'run-taught'
    table = {row['path']: row for row in rows(out / 'predictions.csv')}
    found = {p.name: p for p in result.predictions}
    assert found.keys() == table.keys()
    assert {n for n, p in found.items() if p.note == 'labelled'} == set(names)


def test_labels_of_other_images_train_runs(
    first, options, photos, labelled, tmp_path
):
    """What was said of the first images says nothing of these."""
    out = tmp_path / 'out'
    other = tmp_path / 'other'
    shutil.copytree(photos, other)
    file, _ = label(first[0], 4)
    result = adapt(
        **{**options, 'images': str(other)},
        out=str(out),
        after=str(first[0]),
        labels=str(file),
    )
    assert list((out / 'run').glob('epoch_*.pth'))
    assert result.settings['runs'] == '1' and result.corrected


def test_an_image_that_is_new_since_the_runs(first, photos, tmp_path):
    """It has a class, of which no run has said anything."""
    out = copy_of(first, tmp_path)
    file, _ = label(out, 4)
    new = photos / 'ant' / 'new.png'
    shutil.copy(photos / 'bee' / '1.png', new)
    try:
        result = resume(out, file)
    finally:
        new.unlink()
    (found,) = (p for p in result.predictions if p.name == 'ant/new.png')
    assert found.agreement == 0
    assert any('1 images are new since the runs' in w for w in result.warnings)
    # it has gone again: so is what was said of the others not lost
    file, _ = label(out / 'corrected-1', 2)
    assert len(resume(out / 'corrected-1', file).predictions) == 24


@pytest.fixture
def result(options, tmp_path):
    """The task of a result of which there is what others go on from."""
    out = tmp_path / 'result'
    task = check(Options(**options, out=str(out)))
    save(task, out)
    checkpoint = out / 'run' / 'epoch_3.pth'
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b'')
    write_state(out, out / 'model-1.pth', checkpoint, 1.0)
    return task


def going_on(task, **changes):
    """A task that goes on from its result."""
    options = replace(task.options, after=task.options.out, **changes)
    return replace(task, options=options)


def test_the_result_gone_on_from_has_the_same_classes_and_model(
    result, options, tmp_path, monkeypatch
):
    """Which is said before anything is looked at."""
    monkeypatch.setattr('must_mm.adapt.preparation.look_at_images', None)
    other = shutil.copy(options['model'], tmp_path / 'other.json')
    for changes, message in (
        (dict(classes=CLASSES[::-1]), "its class 1 is 'ant', not 'dog'"),
        (dict(classes=CLASSES[1:]), 'it has 4 classes, not 3'),
        (dict(model=str(other)), 'its model is toy_clip.json, not other.json'),
    ):
        with pytest.raises(ValueError, match=f'--after .*{message}'):
            dry_run(
                **{**options, **changes},
                out=str(tmp_path / 'out'),
                after=result.options.out,
            )


def test_a_result_to_go_on_from_below_the_home(result, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    options = replace(result.options, after='~/result', out='out')
    found = goes_on_from(replace(result, options=options))
    assert found == tmp_path / 'result' / 'run' / 'epoch_3.pth'


def test_what_is_no_result_is_said_of_its_option(options, capsys, tmp_path):
    line = f'--model {options["model"]} --pretrained {options["pretrained"]}'
    images = options['images']
    argv = [images, '--classes', 'a, b', *line.split(), '--after', images]
    assert main([*argv, '--out', str(tmp_path / 'out')]) == 1
    said = capsys.readouterr().err
    assert f'--after {images}: there is no result to go on from' in said
    assert '--resume' not in said


def test_earlier_corrections_count_whichever_is_corrected(result, tmp_path):
    """Labels of the newest, if images have them still."""
    out = Path(result.options.out)
    new = out / 'corrected-1'
    new.mkdir()
    (new / 'known.csv').write_text(
        'path,label\nant/0.png,ant\nbee/0.png,bee\ngone.png,ant\n'
    )
    given = tmp_path / 'lb.csv'
    given.write_text('path,label\nbee/0.png,-\ncat/0.png,cat\n')
    task = going_on(result, labels=str(given))
    images = Images([f'{name}/0.png' for name in CLASSES], [], {})
    options = replace(task.options, out=str(out / 'corrected-2'))
    again = replace(task, options=options)
    known = known_labels(again, images, out / 'corrected-2')
    assert known.labels == {'ant/0.png': 0, 'cat/0.png': 2}
    assert known.none == {'bee/0.png'}
    assert '1 images' in without_their_labels(known)
    assert 'such as gone.png' in without_their_labels(known)
    # of images elsewhere these labels say nothing
    elsewhere = replace(options, images=str(tmp_path), out=str(tmp_path / 'o'))
    task = replace(task, options=elsewhere)
    known = known_labels(task, images, tmp_path / 'o')
    assert known == Known({'cat/0.png': 2}, {'bee/0.png'})


def test_a_renamed_result_knows_its_corrections(result, tmp_path):
    """What lies elsewhere is found where it was."""
    out = Path(result.options.out)
    new = out / 'corrected-1'
    labels = str(new / 'known.csv')
    save(going_on(result, labels=labels), new)
    other = tmp_path / 'other'
    save(going_on(result), other)
    renamed = out.rename(tmp_path / 'renamed')
    found = load(renamed / 'corrected-1')
    assert found.after == str(renamed)
    assert found.labels == str(renamed / 'corrected-1' / 'known.csv')
    assert load(other).after == str(out)


def test_two_images_have_to_train(result):
    images = Images([f'{n}.png' for n in range(24)], [], {})
    nothing = Known({}, set(images.names))

    def count(known, reject=0.0):
        options = replace(result.options, reject=reject)
        return training_count(replace(result, options=options), images, known)

    assert count(Known(), reject=0.9) == 2
    with pytest.raises(ValueError, match='--reject 0.99: 0 of 24 images'):
        count(Known(), reject=0.99)
    with pytest.raises(ValueError, match='^- in --labels: 0 of 24 images'):
        count(nothing)


def test_files_of_a_result_that_are_damaged_are_named(result):
    out = Path(result.options.out)
    again = f'is damaged; must-adapt --resume {out} writes it anew'
    (out / 'result.json').write_text('')
    with pytest.raises(ValueError, match=f'result.json {again}'):
        finished(out)
    some = torch.zeros(1, 1)
    keep(Said(['a.png'], some, some.long(), some, some.long()), out)
    whole = (out / 'said.pth').read_bytes()
    (out / 'said.pth').write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=f'said.pth {again}'):
        recall(out, ['a.png'])


def test_a_dry_run_refuses_what_the_run_does(options, tmp_path):
    photos = tmp_path / 'photos'
    shutil.copytree(options['images'], photos)
    (photos / 'cut.png').unlink()
    with pytest.raises(ValueError, match='all of its images are among those'):
        dry_run(
            **{**options, 'images': str(photos)},
            out=str(tmp_path / 'out'),
            eval=str(photos),
            labels=str(photos),
        )


def test_a_correction_is_planned_as_one(first, options, tmp_path):
    file, _ = label(first[0], 4)
    common = dict(options, out=str(tmp_path / 'out'), after=str(first[0]))
    words = dry_run(**common, labels=str(file))
    assert words['runs'].startswith('none: ')
    # what is known from before does not correct anew
    assert dry_run(**common)['runs'] == '1'


def answer(said, taught, runs=('run',)):
    lesson = Lesson(said.names, 1 - said.probs, None)
    return SimpleNamespace(said=said, lesson=lesson, taught=taught, runs=runs)


def test_what_is_said_together():
    """Of two images that runs saw, and a new one."""
    said = Said(
        ['a', 'b'],
        torch.tensor([[0.9, 0.1], [0.2, 0.8]]),
        torch.tensor([[0, 1], [0, 0], [1, 1]]),
        torch.ones(2, 1),
        torch.tensor([[1], [0]]),
    )
    names, alone = ['b', 'new', 'a'], torch.tensor([[0.5, 0.5]] * 3)
    runs = together(alone, names, answer(said, None))
    assert runs[:, 0].tolist() == pytest.approx([0.2, 0.5, 0.9])
    student = together(alone, names, answer(said, 'student'))
    assert student[:, 0].tolist() == pytest.approx([0.35, 0.5, 0.7])
    corrected = together(alone, names, answer(said, 'student', ()))
    assert corrected[:, 0].tolist() == pytest.approx([0.65, 0.5, 0.3])
    agreed = agreeing(said, names, torch.tensor([1, 0, 0]))
    assert agreed.tolist() == pytest.approx([2 / 3, 0, 2 / 3])


def test_labels_from_the_beginning(options, tmp_path):
    """And of a folder for each class, with images from elsewhere."""
    given = tmp_path / 'given'
    (given / 'ANT').mkdir(parents=True)
    source = f'{options["images"]}/ant/0.png'
    shutil.copy(source, given / 'ANT' / 'copy.png')
    (given / 'bee').mkdir()
    from PIL import Image

    Image.open(source).rotate(90).save(given / 'bee' / 'new.png')
    out = tmp_path / 'out'
    result = adapt(**options, out=str(out), labels=str(given))
    trained = (out / 'trained.txt').read_text().splitlines()
    assert trained[-1] == str(given / 'bee' / 'new.png')
    assert len(trained) == 25 and len(result.predictions) == 24
    notes = {p.name: p.note for p in result.predictions if p.note}
    assert notes == {'ant/0.png': 'labelled'}


def test_a_label_elsewhere_and_an_image_of_no_class(options, tmp_path):
    """As many train as lie in the folder, and they are others."""
    given = tmp_path / 'given.csv'
    other = tmp_path / 'other.png'
    shutil.copy(f'{options["images"]}/ant/0.png', other)
    from PIL import Image

    Image.open(other).rotate(90).save(other)
    given.write_text(f'path,label\n{other},bee\nant/1.png,-\n')
    out = tmp_path / 'out'
    result = adapt(**options, out=str(out), labels=str(given))
    trained = (out / 'trained.txt').read_text().splitlines()
    assert len(trained) == len(result.predictions) == 24
    assert str(other) in trained and 'ant/1.png' not in trained
    notes = {row['path']: row['note'] for row in rows(out / 'predictions.csv')}
    assert notes.pop('ant/1.png') == 'none' and set(notes.values()) == {''}


def test_nothing_to_correct_yet(options, tmp_path, monkeypatch):
    out = tmp_path / 'out'
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(Stop):
            adapt(**options, out=str(out))
    with pytest.raises(ValueError, match='no result to go on from yet'):
        resume(out, tmp_path / 'review.csv')


def test_commands_of_errors_can_be_pasted(tmp_path):
    out = tmp_path / 'out put'
    (out / 'corrected-1').mkdir(parents=True)
    for folder in (out, out / 'corrected-1'):
        (folder / 'options.json').write_text('{}')
    for fails, folder in (
        (finished, out),
        (lambda out: recall(out, []), out),
        (corrected_folder, out / 'corrected-1'),
    ):
        with pytest.raises(ValueError, match=f"--resume '{folder}'"):
            fails(out)
