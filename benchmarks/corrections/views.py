"""Rendered views of which some have a label that may be used."""

from __future__ import annotations

from mmpretrain.registry import DATASETS

from must_mm.datasets.seeding import EpochIndex

from ..accuracy.views import RenderedViews


@DATASETS.register_module()
class LabelledViews(RenderedViews):
    """:class:`RenderedViews` with labels, as :class:`KnownLabels` has them.

    A labelled image that comes once more in an epoch is seen in the views of
    another epoch.

    Args:
        known: Indices of samples and their classes.
        options: See :class:`RenderedViews`.
    """

    def __init__(self, known: list[tuple[int, int]], **options) -> None:
        self.known = dict(known)
        super().__init__(**options)

    def get_data_info(self, index: int) -> dict:
        """Return what is known about a sample; ``labelled`` says if it is."""
        info = super().get_data_info(index)
        return info | dict(labelled=int(index) in self.known)

    def __getitem__(self, index: EpochIndex) -> dict:
        epoch = index.epoch + index.repeat
        sample = super().__getitem__(EpochIndex(index, epoch, index.seed))
        label = self.known.get(int(index))
        if label is not None:
            marked = sample['data_samples']
            marked.set_gt_label(label)
            marked.set_field(True, 'labelled', field_type='metainfo')
        return sample
