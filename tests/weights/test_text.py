"""Class names, templates, and the classifier made of them."""

import open_clip
import pytest
import torch
from torch import nn

from must_mm.weights.text import (
    as_classifier,
    embed_prompts,
    read_classes,
    read_templates,
    text_classifier,
)


class Lengths(nn.Module):
    """Stands in for CLIP: a prompt is embedded by its letters' codes."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))

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


TEXT = dict(context_length=24, vocab_size=49408, width=32, heads=2, layers=2)
VISION = dict(image_size=32, patch_size=16, width=64, layers=1, head_width=32)
# causal: as OpenAI's, and as a module of its own with an end token to find
CAUSAL = dict(argmax={}, eos=dict(pool_type='eos', eos_id=49407))
# what stands behind the prompt counts: SigLIP's and CoCa's towers
WHOLE = dict(
    last=dict(pool_type='last', no_causal_mask=True),
    cls=dict(embed_cls=True),
)


def build(custom: bool, **text) -> nn.Module:
    torch.manual_seed(0)
    kind = open_clip.CustomTextCLIP if custom else open_clip.CLIP
    model = kind(embed_dim=16, vision_cfg=VISION, text_cfg={**TEXT, **text})
    with torch.no_grad():
        for param in model.parameters():
            param += 0.05 * torch.randn_like(param)
    return model.eval()


@pytest.mark.parametrize(
    'custom, options, shortest',
    [(False, CAUSAL['argmax'], 5), (False, CAUSAL['eos'], 5)]
    + [(True, options, 5) for options in CAUSAL.values()]
    + [(True, options, 24) for options in WHOLE.values()],
)
@torch.no_grad()
def test_equals_open_clips_own_in_fewer_tokens(custom, options, shortest):
    """Within 1e-6 of the unit columns: float32, other orders of its sums."""
    model = build(custom, **options)
    tokenizer = open_clip.SimpleTokenizer(context_length=24)
    classes = ['ant', 'a very long name of a big cat', 'dog']
    templates = ['{} here.', 'a photo of a small {}.', 'an origami {}.']
    expected = open_clip.build_zero_shot_classifier(
        model, tokenizer, classes, templates
    )
    seen = []
    (model.text if custom else model).token_embedding.register_forward_hook(
        lambda _module, _inputs, output: seen.append(output.shape[1])
    )
    for done, sums in embed_prompts(  # noqa: B007  the last is used
        model, tokenizer, classes, templates, batch_size=2
    ):
        pass
    assert done == 9
    found = as_classifier(sums)
    assert (found - expected).norm(dim=0).max() <= 1e-6
    # sorted: the first batch holds the shortest prompts
    assert seen[0] == shortest
    assert seen == sorted(seen) and (seen[-1] > seen[0]) == (shortest == 5)
    assert expected.std(dim=1).min() > 1e-3  # prompts do matter
