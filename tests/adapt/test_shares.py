"""Shares of the classes that nobody has stated: neighbours, then labels."""

import io
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from must_mm.adapt.labels import Known
from must_mm.adapt.plan import Images
from must_mm.adapt.predict import Seen
from must_mm.adapt.preparation import Job
from must_mm.adapt.result import REJECTED
from must_mm.adapt.settle import in_words, settle
from must_mm.adapt.shares import FROM_LABELS, FROM_NEIGHBOURS
from tests.evaluation.test_class_shares import EVEN, TRUE, distance, drawn

COUNT = 2000


def seen(logits) -> Seen:
    none = torch.zeros(0)
    return Seen(logits, logits, none, logits[:0], none.long())


def job(tmp_path, known, *, weight=1.0, prior=None, after=None, config=None):
    """A run of 2000 images, as far as the prior needs it."""
    options = SimpleNamespace(
        class_prior=prior, after_folder=after, network='student', seed=0
    )
    cfg = Config(
        dict(
            model=dict(
                head=dict(threshold=0.7, fairness=dict(loss_weight=weight)),
                pseudo_labels=dict(alignment=dict(type='BalancedLabels')),
            )
        )
    )
    names = [f'{n}.png' for n in range(COUNT)]
    return Job(
        SimpleNamespace(
            options=options,
            config=config,
            folder=tmp_path,
            classes=list('abcd'),
        ),
        tmp_path,
        Images(names, [], {}),
        known,
        cfg,
        False,
        {'class prior': 'uniform'},
    )


def labelled(labels, count=100) -> Known:
    known = {f'{n}.png': labels[n].item() for n in range(count)}
    return Known(known | {'/elsewhere/a.png': 3})


def settled(job, logits, notes=(), corrected=None):
    result = None if corrected is None else seen(corrected)
    found = settle(job, seen(logits), result, dict(notes), io.StringIO())
    head = found.cfg.model.head
    alignment = found.cfg.model.pseudo_labels.alignment
    assert head.fairness.get('prior') == alignment.get('prior')
    assert found.prior == head.fairness.get('prior')
    return found


def test_labels_set_the_prior(tmp_path):
    logits, labels = drawn(TRUE, count=COUNT)
    found = settled(job(tmp_path, labelled(labels)), logits)
    assert distance(torch.tensor(found.prior), TRUE) < 0.1
    assert found.words['class prior'].startswith(FROM_LABELS)
    # of the start, an image that could not be read
    logits[500] = torch.nan
    again = settled(job(tmp_path, labelled(labels)), logits)
    assert (
        distance(torch.tensor(found.prior), torch.tensor(again.prior)) < 1e-3
    )


def test_even_shares_stay(tmp_path):
    logits, labels = drawn(EVEN, count=COUNT)
    found = settled(job(tmp_path, labelled(labels, 20)), logits)
    assert found.prior is None
    assert found.words['class prior'] == 'uniform'


@pytest.mark.parametrize(
    'changes', [dict(weight=0.0), dict(prior='uniform'), dict(prior='ant=1')]
)
def test_what_was_stated_stays(tmp_path, changes):
    logits, labels = drawn(TRUE, count=COUNT)
    found = settled(job(tmp_path, labelled(labels), **changes), logits)
    assert found.prior is None


def test_neighbours_are_asked_where_that_is_wanted(tmp_path):
    logits, _ = drawn(TRUE, count=COUNT)
    none = Known(none={'0.png'})
    assert settled(job(tmp_path, none), logits).prior is None
    found = settled(job(tmp_path, none, prior='auto'), logits)
    off = distance(torch.tensor(found.prior), TRUE)
    assert off < 0.6 * distance(EVEN, TRUE)
    assert found.words['class prior'].startswith(FROM_NEIGHBOURS)


def test_shares_in_words():
    assert in_words([0.2, 0.8], ['ant', 'bee']) == 'bee 80 %, ant 20 %'
    many = in_words([0.4] + [0.1] * 6, list('abcdefg'))
    assert many.startswith('a 40 %, b 10 %') and many.endswith('2 others 20 %')


def test_rejected_images_do_not_count(tmp_path):
    logits, labels = drawn(TRUE, count=COUNT)
    # all but those of the first two classes are of none of them
    notes = {f'{n}.png': REJECTED for n in range(100, COUNT) if labels[n] > 1}
    found = settled(job(tmp_path, labelled(labels)), logits, notes)
    assert found.prior[2] + found.prior[3] < 0.08 < TRUE[2] + TRUE[3]


def test_it_goes_on_from_the_prior_of_before(tmp_path):
    """The result is asked, not the start; unclear, its prior stays."""
    logits, labels = drawn(TRUE, count=COUNT)
    start, _ = drawn(EVEN, count=COUNT)
    (tmp_path / 'config.py').write_text(
        f'model = dict(head=dict(fairness=dict(prior={TRUE.tolist()})))'
    )
    one = job(tmp_path, labelled(labels, 8), after=tmp_path)
    found = settled(one, start, corrected=logits)
    assert found.prior == TRUE.tolist()
    (tmp_path / 'config.py').write_text(
        f'model = dict(head=dict(fairness=dict(prior={EVEN.tolist()})))'
    )
    many = job(tmp_path, labelled(labels, 300), after=tmp_path)
    assert (
        distance(
            torch.tensor(settled(many, start, corrected=logits).prior), TRUE
        )
        < 0.1
    )
