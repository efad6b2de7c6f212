"""The pipeline of a data set, plain, in parts, wrapped, or none."""

import pytest

from must_mm.utils.pipelines import pipeline_of

STEPS = [dict(type='LoadImage'), dict(type='PackInputs')]
PLAIN = dict(type='CustomDataset', pipeline=STEPS)


@pytest.mark.parametrize(
    'dataset',
    [
        PLAIN,
        dict(type='SkipBadImages', dataset='CustomDataset', pipeline=STEPS),
        dict(type='RepeatDataset', times=2, dataset=PLAIN),
        dict(
            type='RepeatDataset',
            dataset=dict(type='ConcatDataset', datasets=[PLAIN, dict()]),
        ),
    ],
)
def test_it_is_found(dataset):
    assert pipeline_of(dataset) == STEPS


@pytest.mark.parametrize(
    'dataset',
    [
        None,
        {},
        dict(pipeline=[]),
        dict(type='ConcatDataset', datasets=[]),
        dict(type='SkipBadImages', dataset='CustomDataset'),
    ],
)
def test_there_may_be_none(dataset):
    assert pipeline_of(dataset) == []
