"""Tables of predictions: counts, the file."""

import csv

import pytest
import torch

from must_mm.adapt.predict import (
    COLUMNS,
    confusion,
    evaluation,
    predictions,
    write_csv,
)
from must_mm.adapt.result import Evaluation

CLASSES = ['a', 'b, c', 'd']
BEFORE = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])
AFTER = torch.tensor([[0.1, 0.7, 0.2], [0.1, 0.6, 0.3]])


def test_file(tmp_path):
    names = ['x.png', 'f, g/ü.png']
    found = predictions(
        tmp_path,
        names,
        BEFORE,
        AFTER,
        agreement=torch.tensor([1.0, 2 / 3]),
        strangeness=torch.tensor([0.5, 0.0]),
        notes={names[0]: 'rejected'},
    )
    assert found[0].runner_up == 2
    assert found[0].runner_up_confidence == pytest.approx(0.2)
    path = tmp_path / 'predictions.csv'
    write_csv(found, CLASSES, path)
    with path.open(encoding='utf-8', newline='') as file:
        rows = list(csv.reader(file))
    assert rows == [
        list(COLUMNS),
        [
            'x.png', 'b, c', '0.7000', 'a', 'yes', '1.00', '0.5000',
            'rejected',
        ],
        [
            'f, g/ü.png', 'b, c', '0.6000', 'b, c', 'no', '0.67', '0.0000',
            '',
        ],
    ]  # fmt: skip


def test_what_a_person_said_is_what_is_said(tmp_path):
    said = {'x.png': 2}
    found = predictions(
        tmp_path, ['x.png', 'y.png'], BEFORE, AFTER, labels=said
    )
    assert (found[0].label, found[0].confidence) == (2, 1)
    assert (found[1].label, found[1].confidence) == (
        1, pytest.approx(0.6),
    )  # fmt: skip


def test_confusion_counts_true_by_predicted():
    assert confusion([0, 2], AFTER) == [[0, 1, 0], [0, 0, 0], [0, 1, 0]]
    measured = evaluation([0, 1], BEFORE, AFTER)
    assert Evaluation.accuracy(measured.before) == 1
    assert Evaluation.accuracy(measured.after) == 0.5
