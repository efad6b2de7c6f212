"""A run that collapses is undone, and the result says so first."""

import pytest
import torch

from must_mm.adapt import adapt, fallback
from must_mm.adapt.fallback import gone_wrong
from must_mm.adapt.result import summary
from must_mm.checkpoints.plain import load_tensors
from must_mm.engine.collapse import (
    LIMITS,
    CollapseHook,
    Limit,
    RunningSignals,
    Signals,
)


@pytest.fixture
def collapse(monkeypatch):
    """Let a run collapse from some step on; it looks at each."""

    def begin(step: int) -> None:
        def signals(self):
            self.looks = getattr(self, 'looks', 0) + 1
            return Signals(class_growth=9.0 if self.looks >= step else 1.0)

        monkeypatch.setattr(RunningSignals, 'signals', signals)
        # interval, patience
        monkeypatch.setattr(
            CollapseHook.__init__, '__defaults__', (1, 2, True, None)
        )

    return begin


def test_early_it_goes_back_to_the_start(options, collapse, tmp_path):
    collapse(step=1)
    out = tmp_path / 'out'
    result = adapt(**options, out=str(out))
    assert 'went wrong' in result.fallback
    assert '9.0 times its due' in result.fallback
    assert 'the start as it was' in result.fallback
    assert not any(p.changed for p in result.predictions)
    for found in result.predictions:
        assert found.confidence == pytest.approx(found.zero_shot_confidence)
    page = (out / 'report.html').read_text()
    assert page.index('went wrong') < page.index('images changed class')
    assert summary(result, out).splitlines()[0] == result.fallback
    # what a resumed run would go on from is not the start
    assert not (out / 'run' / 'start.pth').exists()


def test_late_it_goes_back_to_what_was_sound(options, collapse, tmp_path):
    collapse(step=7)
    out = tmp_path / 'out'
    result = adapt(**{**options, 'epochs': 8}, out=str(out))
    assert 'what it was before' in result.fallback
    sound = (out / 'run' / 'last_sound_checkpoint').read_text()
    assert sound.endswith('epoch_6.pth')
    (exported,) = out.glob('model-*.pth')
    found = load_tensors(exported)['state_dict']
    trained = load_tensors(sound)['state_dict']
    name = 'backbone.patch_embed.projection.weight'
    assert torch.equal(found[name], trained[name])


def test_a_sound_run_has_no_fallback(adapted):
    out, result = adapted
    assert result.fallback == ''
    assert 'went wrong' not in (out / 'report.html').read_text()


def test_a_run_too_short_to_be_watched_is_judged_in_the_end(
    options, monkeypatch, tmp_path
):
    # of random networks on a few images: nothing is right
    monkeypatch.setattr(fallback, 'FEW', 1)
    monkeypatch.setitem(LIMITS, 'start_disagreement', Limit(2, -1))
    result = adapt(**options, out=str(tmp_path / 'out'))
    assert "another class than the start's" in result.fallback
    assert 'the start as it was' in result.fallback
    assert not any(p.changed for p in result.predictions)


def labels_of(*counts):
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


@pytest.mark.parametrize(
    'start, result, prior, said',
    [
        ((50, 20, 30), (98, 1, 1), None, '67% of the classes'),
        ((25,) * 4, (79, 7, 7, 7), None, "'0', 3.2 times its due"),
        ((25,) * 4, (70, 10, 10, 10), None, ''),
        # the start had it, or the prior says so
        ((80, 10, 5, 5), (79, 7, 7, 7), None, ''),
        ((25,) * 4, (79, 7, 7, 7), (0.7, 0.1, 0.1, 0.1), ''),
        # as many of each class, but other images
        ((25,) * 4, (25,) * 4, None, ''),
        # too few to tell
        ((5,) * 4, (17, 1, 1, 1), None, ''),
    ],
)
def test_what_is_said_of_all_images_has_limits(start, result, prior, said):
    start, result = labels_of(*start), labels_of(*result)
    classes = [str(k) for k in range(int(start.max()) + 1)]
    found = gone_wrong(result, start, prior, classes)
    assert said in found
    assert bool(found) == bool(said)


def test_labels_that_contradict_the_start_are_no_answer():
    start = labels_of(25, 25, 25, 25)
    assert '75% of the images' in gone_wrong(
        start.roll(75).where(torch.arange(100) < 75, start).flip(0),
        start,
        None,
        list('abcd'),
    )
