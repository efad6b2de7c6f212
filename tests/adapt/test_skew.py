"""Classes that have much more or fewer images than they should."""

from must_mm.adapt.skew import skew, skew_note

CLASSES = ['ant', 'bee', 'cat']


def test_skew():
    even = [0] * 30 + [1] * 30 + [2] * 30
    assert skew(even, CLASSES, None) == ([], [])
    assert skew([0] * 60 + [1] * 30, CLASSES, None) == ([], [2])
    assert skew([0] * 60 + [1] * 30, CLASSES, [0.6, 0.39, 0.01]) == ([], [])
    # too few images to say
    assert skew([0, 0, 0], CLASSES, None) == ([], [])
    # four classes: more than three times its share
    most = [0] * 80 + [1, 2, 3] * 7
    assert skew(most, ['a', 'b', 'c', 'd'], None) == ([0], [])
    # two classes: 99 of 100
    assert skew([0] * 99 + [1], ['a', 'b'], None) == ([0], [1])


def test_a_class_that_has_nearly_all():
    def say(*given):
        return skew_note([2] * 24, *given)

    assert say(CLASSES, None, True) == (
        'Nearly all images (24 of 24) were called cat. If most of your '
        "photos really are of this class, add --class-prior 'cat=8, ant=1, "
        "...'; if not, label a few in the report"
    )
    # --fairness-weight 0: the prior is not used
    assert say(CLASSES, None, False).endswith(
        'If that is wrong, label a few in the report'
    )
    two = skew_note([0] * 24, ["O'Brien", 'bee'], None, True)
    assert """'O'"'"'Brien=8, bee=1'""" in two


def test_classes_that_have_none():
    even = [k for k in range(5) for _ in range(20)]
    classes = [f'class {k}' for k in range(10)]
    note = skew_note(even, classes, None, True)
    assert 'called class 5, class 6, class 7 and 2 more classes.' in note
    assert len(note) < 250
    assert skew_note(even, classes[:5], None, True) is None
