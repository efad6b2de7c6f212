"""Tables of trust from made-up runs."""

import pytest
import torch

from benchmarks.accuracy import command
from benchmarks.accuracy.trust import (
    by_agreement,
    choices,
    confidences,
    error_row,
    estimates,
    read_runs,
    report,
    said,
)

K = 4


def kept(seed: int, wrong: float = 0.2, sure: float = 8.0, n: int = 400):
    """A run that is wrong on a share of the images and always as sure."""
    draw = torch.Generator().manual_seed(seed)

    def one(labels, share):
        told = labels.clone()
        off = torch.rand(len(labels), generator=draw) < share
        told[off] = (told[off] + 1) % K
        one_hot = torch.eye(K)[told]
        return dict(
            logits=(sure * one_hot).half(),
            feats=(torch.eye(K)[labels] + 0.01).half(),
            mixed=(sure * one_hot).half(),
            mixed_labels=labels.to(torch.uint8),
        )

    labels = torch.arange(n) % K
    return {
        part: dict(
            labels=labels, start=one(labels, 0.5), student=one(labels, wrong)
        )
        for part in ('train', 'val', 'test')
    }


@pytest.fixture
def runs():
    return [said(kept(seed), 'val') for seed in range(3)]


def test_blends_calibrate_an_overconfident_run(runs):
    # blends are wrong as often as images here, so the fit is exact up to
    # the draws: 400 images, 20 % wrong
    found = confidences([runs])
    assert found['raw'][0] == pytest.approx(20, abs=4)
    assert found['blends'][0] < 4
    assert found['blends'][1] < found['raw'][1]
    assert set(found) == {'raw', 'blends', 'agreement', 'mean of runs'}
    # errors of the runs are independent: their mean ranks images
    assert found['mean of runs'][2] < found['raw'][2]
    assert min(by_agreement(runs)) > 1


def test_estimates_are_compared_with_the_truth(runs):
    found = estimates([runs])
    assert all(abs(error) < 5 for error in found['calibrated confidence'])
    assert all(error > 15 for error in found['confidence'])
    # two runs agree if both are right, or wrong in the same way: 0.64 + 0.04
    (agree,) = found['runs agree']
    right = 100 * (0.8**3 + 3 * 0.8**2 * 0.2)
    assert agree == pytest.approx(68 - right, abs=5)
    assert found['neighbours agree'] == [
        error for error in found['neighbours agree'] if error < 0
    ]


def test_alone_there_is_no_agreement(runs):
    assert 'runs agree' not in estimates([runs[:1]])
    assert 'mean of runs' not in confidences([runs[:1]])


def test_errors_in_a_row():
    row = error_row([1.0, -7.0, 2.0, 4.0])
    assert row == ['4', '+0.0', '3.5', '-7.0', '75 %']


def test_one_run_is_chosen(runs):
    good = [said(kept(9, wrong=0.05), 'val'), *runs[:2]]
    found = choices(good)
    assert found['chosen run'] == found['best run'] > found['average run']


def test_a_class_without_training_images_is_not_judged():
    one = kept(0)
    one['train']['labels'] = one['train']['labels'].clamp(max=2)
    assert said(one, 'val').labels.unique().tolist() == [0, 1, 2]


def test_files_are_found_by_their_names(tmp_path, capsys):
    (tmp_path / 'predictions').mkdir()
    for task in ('mnist', 'mnist-cut'):
        for draw in range(2):
            name = f'{task}-self-training-3-{draw}.pt'
            torch.save(kept(draw), tmp_path / 'predictions' / name)
    groups = read_runs(tmp_path, 'test')
    assert set(groups) == {
        ('mnist', 'self-training', '3'),
        ('mnist-cut', 'self-training', '3'),
    }
    assert [len(runs) for runs in groups.values()] == [2, 2]
    text = report(groups)
    assert '| mnist-cut | self-training | both | 1 |' in text
    assert '| self-training | runs agree | 2 |' in text
    command.main([str(tmp_path), '--trust', '--part', 'test'])
    assert capsys.readouterr().out.strip() == text
