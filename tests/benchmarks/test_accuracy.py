"""The tasks hold what they say, the views are the pipeline's, the table."""

import json
import shutil

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from benchmarks.accuracy import command, tasks
from benchmarks.accuracy.settings import SETTINGS, setting_config
from benchmarks.accuracy.table import paired, table, watched
from benchmarks.accuracy.tasks import Task
from benchmarks.accuracy.training import judge, lasting_levels
from benchmarks.accuracy.views import RenderedViews, render_views
from must_mm.datasets.seeding import EpochIndex
from must_mm.engine.collapse import LIMITS, CollapseHook
from must_mm.utils.paths import config_path

LABELS = torch.arange(1000) % 10


def result(setting, draw, student, start=70.0, lost=0, task='digits'):
    def part(accuracy):
        return dict(accuracy=accuracy, lost=lost)

    return dict(
        task=task,
        setting=setting,
        start=0,
        draw=draw,
        watched=dict(class_growth=9.0 if student < start else 1.0),
        judged={
            'start': dict(val=part(start)),
            'student': dict(val=part(student)),
        },
    )


def test_an_unbalanced_task_has_tenths():
    found = tasks.members(tasks.TASKS['unbalanced'], LABELS, 3, 1)
    counts = torch.bincount(found.labels).sort().values.tolist()
    assert counts[0] == 10 and counts[-1] == 100
    torch.testing.assert_close(LABELS[found.train], found.labels)
    assert sum(found.shares()) == pytest.approx(1)
    other = tasks.members(tasks.TASKS['unbalanced'], LABELS, 3, 2)
    assert found.labels.bincount().tolist() != other.labels.bincount().tolist()


def test_a_class_without_images_is_not_judged():
    found = tasks.members(tasks.TASKS['lacking'], LABELS, 1, 2)
    assert 7 not in found.judged and len(found.judged) == 9
    assert not (found.labels == 7).any() and len(found.train) == 900


def test_letters_are_as_coarse_as_the_target():
    found = tasks.letters(3)
    assert found.shape == (3, 32, 32) and found.dtype == np.uint8
    assert found.max() > 100 and (tasks.letters(3) == found).all()


def test_mnist_must_be_given(tmp_path):
    with pytest.raises(FileNotFoundError, match='--mnist'):
        tasks.write_folder(tmp_path, 'mnist', None)


def test_rendered_views_are_those_of_the_pipeline(tmp_path):
    folder = tmp_path / 'digits'
    tasks._write_part(folder, 'train', tasks.letters(3), [4, 5, 6])
    cfg = Config.fromfile(config_path('must/quickstart_digits.py'))
    init_default_scope(cfg.default_scope)
    path = render_views(cfg, folder, tmp_path / 'views_1.npy', 1, 2)
    from mmpretrain.registry import DATASETS

    images = DATASETS.build(
        dict(cfg.train_dataloader.dataset, data_root=str(folder))
    )
    rendered = RenderedViews([(str(path), [2, 0])], [6, 4], ['a'] * 10)
    assert len(rendered) == 2
    real = images[EpochIndex(2, 1, 1)]
    same = rendered[EpochIndex(0, 1, 1)]
    torch.testing.assert_close(same['inputs'], list(real['inputs']))
    assert (
        same['data_samples'].mask.numpy() == real['data_samples'].mask
    ).all()
    assert same['data_samples'].sample_idx == 0
    batch = default_collate([same, rendered[EpochIndex(1, 0, 1)]])
    assert batch['inputs'][1].shape == (2, 3, 32, 32)


@pytest.mark.parametrize('name', SETTINGS)
def test_only_a_stated_prior_reaches_a_setting(name):
    cfg = setting_config(name, [0.1] * 10, 7)
    stated = 'prior' in cfg.model.head.fairness
    assert stated == name.endswith('+prior')
    labels = cfg.model.get('pseudo_labels')
    if labels:
        told = labels.alignment.get('prior', 'auto') != 'auto'
        assert told == stated
        MODELS.build(
            dict(labels, type='PseudoLabels', num_classes=10, in_channels=64)
        )
    assert 7 in cfg.param_scheduler.values()


def test_a_run_from_images_to_figures(tmp_path, short_quickstart, monkeypatch):
    """Two epochs of the real thing; its files say what its figures say."""
    from benchmarks.accuracy import training

    tasks_here = dict(digits=Task('digits', epochs=2))
    monkeypatch.setattr(training, 'TASKS', tasks_here)
    shutil.copytree(short_quickstart / 'start', tmp_path / 'start0')
    job = training.Job('digits', 'balanced', start=0, draw=1)
    found = training.run(tmp_path, job, None)
    kept = torch.load(
        training.predictions_of(tmp_path, job), weights_only=True
    )
    assert len(kept['train']['labels']) == 1197
    for who in ('start', 'student'):
        for part in ('val', 'test'):
            seen, truth = kept[part][who], kept[part]['labels']
            labels = seen['logits'].argmax(dim=1)
            again = judge(labels, truth, tuple(range(10)))
            # halves may tie
            shown = found['judged'][who][part]['accuracy']
            assert again['accuracy'] == pytest.approx(shown, abs=0.5)
            assert len(seen['mixed']) == len(seen['mixed_labels'])
    assert found['watched'].keys() == LIMITS.keys()


def test_a_level_counts_once_it_lasts():
    hub = MessageHub.get_instance('levels')
    for value in (0.1, 0.9, 0.3, 0.4, 0.5, 0.1):
        hub.update_scalar('train/rank_loss', value)
    hook = CollapseHook(limits={n: None for n in LIMITS if n != 'rank_loss'})
    assert lasting_levels(hub, hook) == dict(rank_loss=0.3)


def test_a_lost_class_is_counted():
    truth = torch.tensor([0] * 20 + [1] * 20 + [2] * 5)
    found = torch.tensor([0] * 39 + [1] + [2] * 5)
    judged = judge(found, truth, (0, 1))
    assert judged == dict(accuracy=52.5, lost=1)


def test_runs_are_compared_in_pairs():
    one = [result('x', draw, 80.0 + draw) for draw in range(3)]
    base = [result('published', draw, 80.0) for draw in (2, 1)]
    # differences 1 and 2: mean 1.5, standard error 0.5
    assert paired(one, base, 'val') == '+1.5 ± 0.5 (2)'
    assert paired(one, [], 'val') == '–'


def test_the_table_counts_what_went_wrong():
    runs = [
        result('published', 0, 60.0, lost=2),
        result('published', 1, 90.0),
        result('balanced', 0, 95.0),
    ]
    lines = table(runs, 'val').splitlines()
    assert [cell.strip() for cell in lines[3].strip('|').split('|')] == [
        'digits', 'published', '2', '70.0', '**75.0**', '21.2', '60.0', '',
        '1', '1', '1 / 1',
    ]  # fmt: skip
    assert '+35.0 (1 run)' in lines[2]


def test_the_watch_is_judged_by_where_runs_end():
    runs = [
        result('published', 0, 60.0),
        result('published', 1, 90.0),
        dict(result('balanced', 0, 95.0), watched=dict(lost_classes=0.3)),
    ]
    below, others = watched(runs, 'val').splitlines()
    assert below.endswith('1, 1 warned of, 1 to be stopped.')
    assert others == 'All others: 2, 1 warned of, 0 to be stopped.'


def test_the_command_skips_what_is_there(tmp_path, monkeypatch, capsys):
    from benchmarks.accuracy import training

    def run(root, job, mnist):
        ran.append(job.draw)
        return dict(
            result(job.setting, job.draw, 90.0), seconds=1.0, start=job.start
        )

    ran = []
    monkeypatch.setattr(training, 'run', run)
    done = result('published', 0, 90.0)
    (tmp_path / 'accuracy.jsonl').write_text(json.dumps(done) + '\n')
    options = '--settings published --starts 0 --draws 0 1 2'.split()
    command.main([str(tmp_path), *options, '--share', '1/1'])
    assert ran == [1, 2]
    command.main([str(tmp_path), *options])
    assert ran == [1, 2]
    assert '| digits | published | 3 |' in capsys.readouterr().out
