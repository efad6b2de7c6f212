"""Class names, templates, and the classifier made of them."""

import pytest
import torch
from torch import nn

from must_mm.weights.text import read_classes, read_templates, text_classifier


class Lengths(nn.Module):
    """Stands in for CLIP: a prompt is embedded by its letters' codes."""

    def encode_text(self, tokens):
        return tokens.double()


def tokenize(prompts):
    rows = [[ord(char) for char in prompt.ljust(12)] for prompt in prompts]
    return torch.tensor(rows)


def test_classifier_is_the_normalised_mean_of_normalised_features():
    classes, templates = ['ant', 'bee', 'o'], ['a {}', '{} there', '{}']
    found = text_classifier(Lengths(), tokenize, classes, templates)
    assert found.shape == (12, 3) and found.dtype == torch.float32
    for k, name in enumerate(classes):
        rows = [tokenize([t.format(name)])[0].double() for t in templates]
        mean = sum(row / row.norm() for row in rows) / len(rows)
        # float32 against float64
        torch.testing.assert_close(
            found[:, k].double(), mean / mean.norm(), rtol=1e-5, atol=1e-6
        )


def test_other_braces_are_letters():
    """Only ``{}`` stands for the name."""
    for template, prompt in (('a {} {x}', 'a ant {x}'), ('a {} {', 'a ant {')):
        templates = read_templates([template])
        found = text_classifier(Lengths(), tokenize, ['ant'], templates)
        expected = tokenize([prompt])[0].float()
        torch.testing.assert_close(found[:, 0], expected / expected.norm())


def test_lines_come_from_a_list_or_a_file(tmp_path):
    file = tmp_path / 'names.txt'
    file.write_text('ant\n\n  bee \nCrème brûlée\n', encoding='utf-8')
    expected = ['ant', 'bee', 'Crème brûlée']
    assert read_classes(str(file)) == read_classes(file) == expected
    assert read_classes(('ant', 'bee', 'Crème brûlée')) == expected


@pytest.mark.parametrize('read', [read_classes, read_templates])
def test_empty_list_names_the_key(read, tmp_path):
    (tmp_path / 'empty.txt').write_text('\n \n')
    for source in ([], tmp_path / 'empty.txt'):
        with pytest.raises(ValueError, match=r'model\.start\.x is empty'):
            read(source, 'model.start.x')


def test_missing_file_names_the_key(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'model\.start\.classes'):
        read_classes(str(tmp_path / 'none.txt'), 'model.start.classes')


def test_duplicates_need_permission():
    names = ['missile', 'sunglasses', 'missile']
    with pytest.raises(ValueError, match='missile.*allow_duplicates=True'):
        read_classes(names, 'model.start.classes')
    assert read_classes(names, allow_duplicates=True) == names


@pytest.mark.parametrize('template', ['a photo', 'a {} of {}', 'a { }'])
def test_template_without_its_braces(template):
    with pytest.raises(ValueError, match=r'model\.start\.templates.*\{\}'):
        read_templates(['a {}.', template], 'model.start.templates')
