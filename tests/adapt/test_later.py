"""More photos, classified by a result."""

import csv
import shutil

import pytest

from must_mm.adapt import classify_more
from must_mm_cli.command import main
from tests.tiny import CLASSES


def test_a_result_classifies_more_photos(adapted, photos, tmp_path, capsys):
    """After it was renamed, and whatever else lies there."""
    result = tmp_path / 'my result'
    shutil.copytree(adapted[0], result)
    new, out = tmp_path / 'new', tmp_path / 'out'
    shutil.copytree(photos / 'ant', new / 'a')
    shutil.copy(photos / 'cut.png', new)
    argv = [str(new), '--predict', str(result), '--out', str(out)]
    assert main(argv) == 0
    text = capsys.readouterr().out
    assert 'skipped cut.png: ' in text
    with (out / 'predictions.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['path'] for row in rows] == [f'a/{k}.png' for k in range(6)]
    named = [row['class'] for row in rows]
    for name in CLASSES:
        count = named.count(name)
        assert (f'{count:7} {name}\n' in text) == bool(count)
    # they are what the exported model says
    known = {p.name: p for p in adapted[1].predictions}
    for row in rows:
        before = known[row['path'].replace('a/', 'ant/')]
        assert row['class'] == CLASSES[before.label]
        assert float(row['confidence']) == pytest.approx(
            before.confidence, abs=1e-4
        )
    assert [path.name for path in out.iterdir()] == ['predictions.csv']
    # nothing is written over
    assert main(argv) == 1
    assert '--out' in capsys.readouterr().err


def test_without_a_result_or_photos(adapted, photos, tmp_path, capsys):
    for images, result, said in (
        (photos, tmp_path, '--predict .*no result'),
        (tmp_path / 'gone', adapted[0], 'IMAGES.*does not exist'),
        (tmp_path, adapted[0], 'IMAGES.*no images below'),
    ):
        out = tmp_path / 'out'
        with pytest.raises((FileNotFoundError, ValueError), match=said):
            classify_more(images, result, out)
        assert not (out / 'predictions.csv').exists()
