"""Whole runs: what they leave, stopped ones, edited ones, tiny ones."""

import csv
import errno
import hashlib
import json
import os
import shutil
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmpretrain import ImageClassificationInferencer
from mmpretrain.registry import TASK_UTILS

from must_mm.adapt import adapt, dry_run, resume, training
from must_mm.adapt.lists import write_lists
from must_mm.adapt.outcome import read_curves
from must_mm.adapt.plan import Images, _weights
from must_mm.adapt.result import Evaluation
from must_mm.adapt.task import check
from must_mm.checkpoints.plain import load_tensors
from must_mm.transforms.loading import read_image
from must_mm.weights.publish import load_published
from must_mm.weights.start_file import load_classifier
from must_mm_cli.options import Options
from tests.tiny import CLASSES, ROOT, assert_same_tensors, launch

TERMS = {'loss', 'loss_st', 'loss_fair'}


def contents(folder) -> dict:
    return {
        path.relative_to(folder): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in folder.rglob('*')
        if path.is_file()
    }


def exported(out):
    (weights,) = out.glob('model-*.pth')
    return weights


def test_the_folder_holds_it_all(adapted):
    out, result = adapted
    with (out / 'predictions.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['path'] for row in rows] == sorted(
        f'{name}/{number}.png' for name in CLASSES for number in range(6)
    )
    for row, prediction in zip(rows, result.predictions, strict=True):
        assert row['class'] == CLASSES[prediction.label]
        changed = row['class'] != row['zero_shot_class']
        assert (row['changed'] == 'yes') == changed == prediction.changed
    assert list(result.skipped) == ['cut.png']
    assert 'truncated' in result.skipped['cut.png']
    assert (out / 'report.html').stat().st_size
    # the labelled images are of two classes, six each
    counts = torch.tensor(result.evaluation.before)
    assert counts.sum(dim=1).tolist() == [6, 6, 0, 0]
    assert 0 <= Evaluation.accuracy(result.evaluation.after) <= 1
    assert result.settings['exported network'] == 'student'
    assert set(result.seconds) == {
        'images',
        'zero-shot',
        'training',
        'results',
    }


def test_curves_are_those_of_the_log(adapted):
    out, result = adapted
    assert TERMS | {'conf_ratio', 'lr'} <= set(result.curves)
    assert [step for step, _ in result.curves['loss']] == [1, 2, 3]
    for step, total in result.curves['loss']:
        parts = [dict(result.curves[name])[step] for name in TERMS - {'loss'}]
        assert total == pytest.approx(sum(parts), rel=1e-4)


def test_predictions_are_those_of_the_exported_model(adapted, photos):
    """Through the three lines that load it; PNG: every decoder agrees."""
    out, result = adapted
    weights = exported(out)
    assert load_tensors(weights).keys() == {'state_dict', 'meta'}
    classify = ImageClassificationInferencer(
        str(weights.with_suffix('.py')), str(weights)
    )
    for prediction in result.predictions[::5]:
        (found,) = classify(str(photos / prediction.name))
        assert found['pred_class'] == CLASSES[prediction.label]
        # float32 sums in another order
        assert found['pred_score'] == pytest.approx(
            prediction.confidence, abs=1e-5
        )


def test_zero_shot_is_the_start(adapted, photos):
    """What the classifier in the start's file says of the images."""
    out, result = adapted
    cfg = Config.fromfile(out / 'config.py')
    start = load_classifier(TASK_UTILS.build(cfg.model.start).prepare())
    classify = ImageClassificationInferencer(start)
    for prediction in result.predictions[::5]:
        (found,) = classify(str(photos / prediction.name))
        assert found['pred_class'] == CLASSES[prediction.zero_shot]
        # a temperature of 1 or more makes no one surer
        assert prediction.zero_shot_confidence <= found['pred_score'] + 1e-5


def test_user_files_stay_as_they_are(options, tmp_path):
    photos = tmp_path / 'photos'
    shutil.copytree(options['images'], photos)
    before = contents(photos)
    # inside the images, as a hasty user has it
    out = photos / 'out'
    result = adapt(
        **{**options, 'images': str(photos), 'epochs': 1}, out=str(out)
    )
    found = contents(photos)
    assert {k: v for k, v in found.items() if k.parts[0] != 'out'} == before
    assert not any(p.name.startswith('out/') for p in result.predictions)


class Stop(KeyboardInterrupt):
    pass


def stop_after(monkeypatch, steps: int, run: str = 'run') -> None:
    """Ctrl-C after so many steps of the run in a folder of this name."""
    from must_mm.adapt.progress import ProgressHook

    shown = ProgressHook.after_train_iter

    def after_train_iter(self, runner, *args, **kwargs):
        shown(self, runner, *args, **kwargs)
        if runner.iter + 1 == steps and Path(runner.work_dir).name == run:
            raise Stop

    monkeypatch.setattr(ProgressHook, 'after_train_iter', after_train_iter)


@pytest.mark.parametrize('steps', [1, 2])  # before, after a checkpoint
def test_a_stopped_run_ends_like_an_uninterrupted_one(
    adapted, options, labelled, tmp_path, monkeypatch, steps
):
    whole, expected = adapted
    out = tmp_path / 'out'
    with monkeypatch.context() as patch:
        stop_after(patch, steps)
        with pytest.raises(Stop):
            adapt(**options, out=str(out), eval=str(labelled))
    assert not list(out.glob('model-*'))
    result = resume(out)
    # the name holds the hash of the content
    assert exported(out).name == exported(whole).name
    assert_same_tensors(
        load_tensors(exported(out)), load_tensors(exported(whole))
    )
    assert result.predictions == expected.predictions
    assert result.evaluation == expected.evaluation
    assert result.curves['loss'] == expected.curves['loss']
    if steps == 2:  # once more: nothing is left to train
        assert resume(out).predictions == expected.predictions


def test_resume_refuses_other_images(options, tmp_path, monkeypatch):
    photos = tmp_path / 'photos'
    shutil.copytree(options['images'], photos)
    out = tmp_path / 'out'
    options = {**options, 'images': str(photos)}
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(Stop):
            adapt(**options, out=str(out))
    (photos / 'ant' / '0.png').unlink()
    with pytest.raises(ValueError, match='0 are new and 1 are missing'):
        resume(out)


def test_edited_config_runs_again(adapted, tmp_path):
    """By tools/train.py, from a copy with another rate."""
    out, _ = adapted
    text = (out / 'config.py').read_text()
    edited = text.replace('lr=', 'lr=2 * ')
    assert edited.count('lr=2 * ') == 1
    (tmp_path / 'mine.py').write_text(edited)
    runner = launch(
        'train', tmp_path / 'mine.py', '--work-dir', tmp_path / 'r'
    )
    runner.train()
    found = runner.model.state_dict()['head.classifier'].cpu()
    (trained,) = (out / 'run').glob('epoch_*.pth')
    other = load_tensors(trained)['state_dict']['head.classifier']
    assert not torch.equal(found, other)
    # the start is the same: no entry moved by more than both rates allow
    rate = Config.fromfile(out / 'config.py').optim_wrapper.optimizer.lr
    assert (found - other).abs().max() <= 2 * 3 * 3 * rate


def test_unedited_config_gives_the_same_weights(adapted, tmp_path):
    out, _ = adapted
    runner = launch('train', out / 'config.py', '--work-dir', tmp_path / 'r')
    runner.train()
    (trained,) = (out / 'run').glob('epoch_*.pth')
    assert_same_tensors(
        dict(runner.model.state_dict()),
        dict(load_tensors(trained)['state_dict']),
    )
    metrics = launch(
        'test', out / 'config.py', trained, '--work-dir', tmp_path / 't'
    ).test()
    assert set(metrics) == {'student/accuracy/top1', 'teacher/accuracy/top1'}


def test_two_images_teacher_and_prior(options, photos, tmp_path):
    folder = tmp_path / 'two'
    folder.mkdir()
    for number in range(2):
        shutil.copy(photos / 'ant' / f'{number}.png', folder)
    out = tmp_path / 'out'
    result = adapt(
        **{**options, 'images': str(folder), 'classes': 'ant, bee'},
        out=str(out),
        network='teacher',
        class_prior='ant=3,bee=1',
        fairness_weight=0.5,
    )
    assert len(result.predictions) == 2
    assert any('few' in text for text in result.warnings)
    assert result.evaluation is None
    fairness = Config.fromfile(out / 'config.py').model.head.fairness
    assert fairness.prior == [0.75, 0.25] and fairness.loss_weight == 0.5
    # the teacher, not the student, was exported
    (trained,) = (out / 'run').glob('epoch_*.pth')
    state = load_tensors(trained)['state_dict']
    model = load_published(
        exported(out), exported(out).with_suffix('.py')
    ).state_dict()
    name = 'backbone.layers.0.ffn.layers.1.weight'
    assert torch.equal(model[name], state[f'teacher.{name}'])
    assert not torch.equal(model[name], state[name])


def test_a_must_config_as_the_model(adapted, options, tmp_path):
    """Its model, start, views and schedule; other images and classes."""
    out, _ = adapted
    text = (out / 'config.py').read_text()
    text = text.replace("'LoadImage'", "'LoadImageFromFile'")
    own = tmp_path / 'own.py'
    own.write_text(text)
    new = tmp_path / 'out'
    result = adapt(
        options['images'],
        'ant, bee',
        model=str(own),
        out=str(new),
        fairness_weight=0,
    )
    cfg = Config.fromfile(new / 'config.py')
    assert cfg.model.head.num_classes == 2 == len(result.classes)
    assert cfg.model.head.fairness.loss_weight == 0
    assert cfg.train_pipeline[0].type == 'LoadImage'
    given = Config.fromfile(own)
    assert cfg.optim_wrapper == given.optim_wrapper
    assert cfg.model.head.threshold == given.model.head.threshold
    assert cfg.train_cfg.max_epochs == 3


def test_recipes_of_the_project_can_be_the_model(tmp_path, options):
    """A start that is not CLIP; its file is looked for, nothing is run."""
    config = ROOT / 'configs' / 'must' / 'efficientnet-lite0_clothing.py'
    with pytest.raises(ValueError, match='class_map'):
        adapt(
            options['images'], 'ant, bee', model=str(config),
            out=str(tmp_path / 'out'),
        )  # fmt: skip


def test_dry_run_writes_and_fetches_nothing(options, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError('weights were asked for')

    monkeypatch.setattr('open_clip.create_model', refuse)
    before = contents(tmp_path)
    out = tmp_path / 'out'
    rows = dry_run(**options, out=str(out))
    assert contents(tmp_path) == before and not out.exists()
    assert rows['images'].startswith('24 in') and '1 skipped' in rows['images']
    assert 'truncated' in rows['skipped cut.png']
    assert rows['training'] == '3 epochs of 1 steps of 24 images'
    assert 'measured' in rows['expected time']
    assert 'GiB' in rows['expected memory']


def test_weights_are_fetched_before_images_are_read(
    options, tmp_path, monkeypatch
):
    def refuse(*args, **kwargs):
        raise OSError('no connection')

    monkeypatch.setenv('MUST_MM_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr('open_clip.pretrained.download_pretrained', refuse)
    monkeypatch.setattr(
        'must_mm.weights.open_clip_start.is_here', lambda *_: False
    )
    monkeypatch.setattr('must_mm.adapt.plan.split_readable', None)
    given = dict(images=options['images'], classes='ant, bee')
    with pytest.raises(RuntimeError, match='Without a connection'):
        adapt(**given, out=str(tmp_path / 'out'))
    row = _weights(check(Options(**given)))
    assert row.endswith('; they will be downloaded')


def test_curves_of_a_resumed_run_are_joined(tmp_path):
    """What was logged after the last checkpoint is logged again."""
    for name, lines in (
        ('1', [dict(step=1, loss=5.0), dict(step=2, loss=9.0)]),
        ('2', [dict(step=2, loss=4.0), dict(step=3, loss=3.0, time=1.0)]),
        ('3', [dict(step=3, accuracy=1.0)]),
    ):
        folder = tmp_path / name / 'vis_data'
        folder.mkdir(parents=True)
        text = '\n'.join(map(json.dumps, lines))
        (folder / 'scalars.json').write_text(text)
    assert read_curves(tmp_path) == {'loss': [(1, 5.0), (2, 4.0), (3, 3.0)]}


def test_an_image_that_goes_while_training_is_skipped(
    options, labelled, tmp_path, monkeypatch
):
    photos, eval_ = tmp_path / 'photos', tmp_path / 'eval'
    shutil.copytree(options['images'], photos)
    shutil.copytree(labelled, eval_)
    train, gone = training.train, sorted(eval_.rglob('*.png'))[0]

    def go_then_train(*args):
        (photos / 'bee' / '2.png').unlink()
        gone.unlink()
        return train(*args)

    monkeypatch.setattr(training, 'train', go_then_train)
    out = tmp_path / 'out'
    result = adapt(
        **dict(options, images=str(photos)), out=str(out), eval=str(eval_)
    )
    names = [p.name for p in result.predictions]
    assert len(names) == 23 and 'bee/2.png' not in names
    assert 'while the run went on' in result.skipped['bee/2.png']
    assert 'while the run went on' in result.skipped[str(gone)]
    assert torch.tensor(result.evaluation.before).sum() == 11
    text = (out / 'report.html').read_text()
    assert 'bee/2.png' in text
    # and what is left is what it is without that image
    model = load_published(exported(out), exported(out).with_suffix('.py'))
    classify = ImageClassificationInferencer(model)
    last = result.predictions[-1]
    (said,) = classify(read_image(last.path))
    assert said['pred_label'] == last.label


def test_a_renamed_folder_goes_on_with_its_own_lists(
    options, tmp_path, monkeypatch
):
    """Where it was, another run may lie, with other images."""
    old, new = tmp_path / 'old', tmp_path / "new, O'Brien"
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(Stop):
            adapt(**options, out=str(old))
    old.rename(new)
    other = sorted(f'bee/{n}.png' for n in range(6))
    old.mkdir()
    (old / 'images.txt').write_text('\n'.join(other) + '\n')
    trained = []
    train = training.train

    def look_then_train(config, *args):
        cfg = Config.fromfile(config)
        trained.append(cfg.train_dataloader.dataset.ann_file)
        return train(config, *args)

    monkeypatch.setattr(training, 'train', look_then_train)
    result = resume(new)
    assert trained == [str(new / 'images.txt')]
    assert len(result.predictions) == 24
    assert str(old) not in (new / 'config.py').read_text()


def test_names_that_a_mac_wrote_anew_are_the_same(tmp_path):
    one, other = 'Müller/é.png', unicodedata.normalize('NFD', 'Müller/é.png')
    task = SimpleNamespace()
    write_lists(task, Images([one, 'a.png'], [], {}), tmp_path)
    write_lists(task, Images(['a.png', other], [], {}), tmp_path)
    # in the order of the run, in the form that the files have now
    listed = (tmp_path / 'images.txt').read_text().splitlines()
    assert listed == [other, 'a.png']
    with pytest.raises(ValueError, match='1 are new and 1 are missing'):
        write_lists(task, Images(['b.png', other], [], {}), tmp_path)


def test_a_full_disk_is_said_with_the_list(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='images.txt could not be written.*free'):
        write_lists(SimpleNamespace(), Images(['a.png'], [], {}), tmp_path)
    assert not list(tmp_path.iterdir())
