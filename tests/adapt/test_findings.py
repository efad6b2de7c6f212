"""The sentences and rankings of the report."""

from dataclasses import replace

import pytest

from must_mm.adapt.findings import (
    class_confidence,
    class_counts,
    close_calls,
    confusions,
    duration,
    headline,
    lost_classes,
    mean_confidence,
    percent,
    surest_changes,
)
from must_mm.adapt.result import Corrected, Evaluation
from tests.adapt.results import prediction, two_images


def plain(text: str) -> str:
    """Undo the narrow spaces."""
    return text.replace('\N{NARROW NO-BREAK SPACE}', '')


def test_counts_are_sorted_and_keep_empty_classes():
    result = two_images(
        classes=['ant', 'bee', 'cat', 'dog'],
        predictions=[prediction(0, 1), prediction(0, 1), prediction(2, 2)],
    )
    assert class_counts(result) == [
        ('bee', 0, 2),
        ('cat', 1, 1),
        ('ant', 2, 0),
        ('dog', 0, 0),
    ]


def test_what_is_of_no_class_is_not_counted():
    none = replace(prediction(0, 1), note='none')
    found = [*[none] * 9, *[prediction(0, 0)] * 10]
    result = two_images(predictions=found)
    assert class_counts(result) == [('ant', 10, 10), ('bee', 0, 0)]
    assert [row.name for row in class_confidence(result)] == ['ant']
    assert [row.name for row in lost_classes(result)] == ['bee']


def test_surest_changes_leave_out_what_stayed():
    stayed = prediction(1, 1, 0.99)
    weak, strong = prediction(0, 1, 0.4), prediction(1, 0, 0.8)
    assert surest_changes([weak, stayed, strong]) == [strong, weak]


def test_confusions_are_off_the_diagonal_and_still_there():
    evaluation = Evaluation(
        before=[[1, 4, 0], [0, 5, 0], [3, 0, 2]],
        after=[[5, 0, 0], [2, 3, 0], [3, 0, 2]],
    )
    assert confusions(evaluation) == [(2, 0, 3, 3), (1, 0, 0, 2)]


def test_close_calls_count_both_directions_of_a_pair():
    def sure(label, other, lead):
        return prediction(
            label, label, 0.5, runner_up=other, runner_up_confidence=0.5 - lead
        )

    found = [sure(0, 1, 0.1), sure(1, 0, 0.1), sure(2, 0, 0.0)]
    assert close_calls([*found, sure(0, 1, 0.3)]) == [(0, 1, 2), (0, 2, 1)]
    # the lead itself is no close call
    assert close_calls([sure(0, 1, 0.25)], lead=0.25) == []


def test_headline_with_labels():
    def say(before, after):
        evaluation = Evaluation(before=before, after=after)
        return plain(headline(two_images(evaluation=evaluation)))

    half, all_right = [[1, 1], [1, 1]], [[2, 0], [0, 2]]
    rose = say(half, all_right)
    assert rose == 'On 4 labelled images, accuracy rose from 50.0% to 100.0%.'
    assert 'fell from 100.0% to 50.0%' in say(all_right, half)
    assert 'stayed at 50.0%' in say(half, half)


def test_headline_after_a_correction():
    half, all_right = [[1, 1], [1, 1]], [[2, 0], [0, 2]]
    most = [[2, 0], [1, 1]]
    text = plain(
        headline(
            two_images(
                evaluation=Evaluation(before=half, after=all_right),
                corrected=Corrected(changed=1, confusion=most),
            )
        )
    )
    assert text == (
        'On 4 labelled images, accuracy rose from 75.0% to 100.0% '
        '(zero-shot: 50.0%). The correction changed the class of 1 image.'
    )
    text = plain(headline(two_images(corrected=Corrected(changed=2))))
    assert text.endswith('The correction changed the class of 2 images.')


def test_headline_without_labels():
    changed = prediction(0, 1, confidence=0.9)
    text = plain(headline(two_images(predictions=[changed] * 3)))
    assert '3 of 3 images changed class' in text
    assert 'agree on 0.0%' in text
    assert 'from 50.0% to 90.0%' in text
    assert mean_confidence([changed]) == pytest.approx((0.5, 0.9))


def test_percent_rounds_neither_to_all_nor_to_nothing():
    values = (0, 1e-6, 0.3333, 0.99999, 1)
    found = [plain(percent(value)) for value in values]
    assert found == ['0.0%', '<0.1%', '33.3%', '>99.9%', '100.0%']


def test_duration():
    values = (0.04, 59.9, 59.96, 3599.6, 7500)
    assert [duration(value) for value in values] == [
        '0.0 s',
        '59.9 s',
        '1 min 0 s',
        '1 h 0 min',
        '2 h 5 min',
    ]
