"""Last feature maps, and masks on their grid."""

import pytest
import torch
import torch.nn as nn

from must_mm.models.local_features import capture, mask_on_grid, to_map


def test_tokens_become_a_map_row_by_row():
    tokens = torch.randn(2, 2 + 9, 5)
    found = to_map(tokens, extra_tokens=2)
    assert found.shape == (2, 5, 3, 3)
    assert torch.equal(found[1, :, 2, 1], tokens[1, 2 + 7])
    assert to_map(found) is found


@pytest.mark.parametrize(
    'shape, message',
    [
        ((2, 10, 5), 'not the tokens of a square view'),
        ((2, 7, 7, 64), 'channels first'),
        ((2, 64), 'model.local_features'),
    ],
)
def test_what_is_no_map_says_so(shape, message):
    with pytest.raises(ValueError, match=message):
        to_map(torch.zeros(shape))


def test_locations_masked_by_half_or_more():
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, 0, :2] = True  # half of the first cell
    mask[0, 0, 2] = True  # a quarter of the second
    mask[0, 2:, 2:] = True  # all of the last
    expected = torch.tensor([[[True, False], [False, True]]])
    assert torch.equal(mask_on_grid(mask, (2, 2)), expected)
    assert mask_on_grid(mask, (4, 4)) is mask
    # a finer map: every location has the mask of its cell
    assert torch.equal(
        mask_on_grid(expected, (4, 4)),
        expected.repeat_interleave(2, 1).repeat_interleave(2, 2),
    )


def test_nothing_masked_names_the_generator():
    """The mean over no location would be NaN."""
    mask = torch.zeros(2, 4, 4, dtype=torch.bool)
    mask[:, 0, 0] = True
    with pytest.raises(ValueError, match='2 x 2 .*mask_patch_size'):
        mask_on_grid(mask, (2, 2))


def test_capture_ends_with_its_context():
    network = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    x = torch.randn(2, 3)
    with capture(network, '0') as captured:
        network(x)
    network(x)
    assert len(captured) == 1
    assert torch.equal(captured[0], network[0](x))
    with capture(network, None) as captured:
        network(x)
    assert captured == []


def test_unknown_module_names_the_key():
    with pytest.raises(ValueError, match=r"model\.local_features.*'layers.9'"):
        with capture(nn.Sequential(nn.ReLU()), 'layers.9'):
            pass
