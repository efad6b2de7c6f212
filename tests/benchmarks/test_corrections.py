"""Corrections: which images, how they are learned, what the table says."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config

from benchmarks.accuracy import training as accuracy
from benchmarks.accuracy.settings import setting_config
from benchmarks.accuracy.views import masks_of
from benchmarks.corrections import command, taught, training
from benchmarks.corrections.choice import by_chance, by_review
from benchmarks.corrections.table import curves, table
from benchmarks.corrections.training import Job, go_on, prior_of
from benchmarks.corrections.views import LabelledViews
from must_mm.adapt.lesson import lesson
from must_mm.adapt.said import said_of
from must_mm.datasets.seeding import EpochIndex
from tests.adapt.test_trust import seen


def test_review_asks_for_other_images_than_chance():
    start = seen()
    said = said_of(
        list(map(str, range(60))),
        start.probabilities[None],
        [start.features],
    )
    draw = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (60, 3, 32, 32), generator=draw).byte()
    pixels[7] = pixels[3]
    asked = by_review(lesson(said, {}), pixels, 59)
    assert len(set(asked)) == 59 and 7 not in asked  # a copy of the third
    few, many = by_chance(60, 5, 3), by_chance(60, 20, 3)
    assert many[:5] == few and len(set(many)) == 20
    assert by_chance(60, 5, 4) != few


@pytest.fixture
def views(tmp_path):
    """Four images in three epochs; a pixel is ten times epoch and image."""
    path = tmp_path / 'views.npy'
    numbers = 10 * np.arange(3)[:, None] + np.arange(4)
    shape = (3, 4, 2, 3, 8, 8)
    pixels = np.broadcast_to(numbers[:, :, None, None, None, None], shape)
    np.save(path, pixels.astype(np.uint8))
    np.save(masks_of(path), np.zeros((3, 4, 1, 1), bool))
    return LabelledViews(
        [[1, 6]],
        parts=[(str(path), [0, 3, 2])],
        labels=[5, 6, 7],
        classes=[str(k) for k in range(10)],
    )


def test_labels_are_of_the_images_that_are_known(views):
    assert [views.get_data_info(n)['labelled'] for n in range(3)] == [
        False, True, False,
    ]  # fmt: skip
    plain = views[EpochIndex(0, 1, 0)]['data_samples']
    assert not plain.get('labelled', False) and 'gt_label' not in plain
    known = views[EpochIndex(1, 1, 0)]['data_samples']
    assert known.labelled and known.gt_label.tolist() == [6]


def test_a_repeated_image_is_seen_in_other_views(views):
    for repeat, pixel in ((0, 13), (1, 23), (2, 3)):
        sample = views[EpochIndex(1, 1, 0, repeat)]
        assert (sample['inputs'][0] == pixel).all()


def balanced() -> Config:
    cfg = setting_config('balanced', [0.1] * 10, 30)
    cfg.train_dataloader.dataset = dict(
        type='RenderedViews', labels=[0] * 640, parts=[]
    )
    return cfg


def test_it_goes_on_for_a_third(tmp_path):
    cfg = balanced()
    go_on(cfg, tmp_path / 'a.pth')
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler.end == 10
    (teacher,) = (h for h in cfg.custom_hooks if h.type == 'EMATeacherHook')
    # a sixth of 100 steps
    assert teacher.decay_start == teacher.decay_end == pytest.approx(0.94)
    assert cfg.load_from == str(tmp_path / 'a.pth')


def test_the_prior_is_asked_as_in_must_adapt(monkeypatch):
    monkeypatch.setattr(training, 'CLASSES', 3)
    one = seen(2.0)
    rare = torch.arange(57)[torch.arange(57) % 3 != 2]
    uneven = accuracy.Predicted(
        one.logits[rare], one.features[rare], one.mixed, one.mixed_labels
    )
    known = {n: int(rare[n]) % 3 for n in range(len(rare))}
    shares = prior_of(uneven, known)
    assert shares[2] < 0.05 and float(shares.sum()) == pytest.approx(1)
    assert prior_of(uneven, {}).tolist() == pytest.approx([1 / 3] * 3)


def result(count, choice, draw, test, wrong=0):
    def judged(accuracy):
        return {
            part: dict(accuracy=accuracy, lost=0)
            for part in ('val', 'test', 'rest')
        }

    job = Job('digits', 3, draw, choice, count)
    return dict(
        vars(job),
        wrong=wrong,
        before=judged(90.0),
        after=judged(test),
        seconds=1.0,
    )


def test_the_table_compares_in_pairs():
    runs = [
        result(0, 'nothing', 0, 90.0),
        result(0, 'nothing', 1, 91.0),
        result(20, 'review', 0, 94.0, wrong=3),
        result(20, 'review', 1, 96.0, wrong=4),
        result(20, 'chance', 1, 93.0, wrong=1),
    ]
    lines = [
        [cell.strip() for cell in line.strip('|').split('|')]
        for line in table(runs, 'test').splitlines()
    ]
    assert lines[4] == [
        'digits', '20', 'review', '2', '3.5', '90.0', '**95.0**', '1.4',
        '+4.5 ± 0.5 (2)', '+3.0 (1)', '95.0',
    ]  # fmt: skip
    assert lines[3][8:10] == ['+2.0 (1)', '']
    assert curves(runs, 'test').splitlines()[2:] == [
        '| digits | review | 90.5 | 95.0 |',
        '| digits | chance | 90.5 | 93.0 |',
    ]
    assert lines[2][8] == ''


def test_the_command_skips_what_is_there(tmp_path, monkeypatch, capsys):
    def run(root, job, mnist):
        ran.append((job.count, job.choice))
        return result(job.count, job.choice, job.draw, 95.0)

    ran = []
    monkeypatch.setattr(training, 'run', run)
    done = result(10, 'chance', 0, 90.0)
    (tmp_path / 'corrections.jsonl').write_text(json.dumps(done) + '\n')
    options = [str(tmp_path), *'--draws 0 --counts 0 10'.split()]
    command.main(options)
    assert ran == [(0, 'nothing'), (10, 'review')]
    command.main(options)
    assert len(ran) == 2
    assert '| digits | 10 | review | 1 |' in capsys.readouterr().out


def test_runs_teach_where_there_are_enough(tmp_path):
    pupil = taught.Pupil('digits', 0)
    assert taught.teachers(tmp_path, pupil, 'val') == []
    draws = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 10
    for draw in range(taught.TOGETHER):
        logits = 2 * torch.eye(10)[labels]
        logits += torch.randn(40, 10, generator=draws)
        one = dict(
            logits=logits, feats=logits, mixed=logits, mixed_labels=labels
        )
        kept = dict(labels=labels, start=one, student=one)
        job = accuracy.Job('digits', 'balanced', 0, draw)
        path = accuracy.predictions_of(tmp_path, job)
        path.parent.mkdir(exist_ok=True)
        torch.save(dict(train=kept, val=kept, test=kept), path)
    found = taught.choices(taught.teachers(tmp_path, pupil, 'test'))
    assert found['mean of runs'] > found['average run']
    together = taught.said_together(tmp_path, pupil)
    kept = lesson(together, {}).labels
    assert (kept == labels).double().mean() >= found['mean of runs'] / 100
    nine = taught.judged_alone(
        taught.teachers(tmp_path, pupil, 'test')[0], tuple(range(9))
    )
    assert len(nine.labels) == len(nine.logits) == 36
    result = dict(task='digits', start=0, val=found, test=found)
    result['train'] = found | dict(labels=100.0)
    written = taught.taught_table([result, dict(result, start=1)])
    assert '| digits | test | 2 |' in written and '| 100.0 |' in written
