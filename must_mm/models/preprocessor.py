"""Normalise both training views as one validation image is normalised."""

from collections.abc import Sequence

import torch
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.registry import MODELS

from ..utils.validation import check_number, check_type


@MODELS.register_module()
class TwoViewDataPreprocessor(ClsDataPreprocessor):
    """MMPretrain's classification preprocessor, applied to each view.

    Outside training it is :class:`ClsDataPreprocessor`, so that an exported
    classifier sees exactly the images that MUST was validated on. Takes the
    same arguments; ``mean`` and ``std`` have a number for each channel, those
    of ``std`` positive.

    Raises:
        ValueError: If one of these numbers is out of its range.
        TypeError: If one of them is not a list, or ``to_rgb`` is not a bool.
    """

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        to_rgb: bool = False,
        **kwargs,
    ) -> None:
        key = 'model.data_preprocessor'
        check_type(f'{key}.to_rgb', to_rgb, bool)
        for name, values, interval in (
            ('mean', mean, '(-inf, inf)'),
            ('std', std, '(0, inf)'),
        ):
            check_type(f'{key}.{name}', values, list, tuple, type(None))
            for value in values or ():
                check_number(f'{key}.{name}', value, interval)
        if len(mean or ()) != len(std or ()) or len(mean or ()) not in (0, 3):
            raise ValueError(
                f'{key}.mean and {key}.std must have 3 numbers each, one for '
                f'each channel, or be None; got {mean} and {std}'
            )
        super().__init__(mean=mean, std=std, to_rgb=to_rgb, **kwargs)
        # from pinned memory (pin_memory of the data loader), the host goes on
        # while the batch is copied
        self._non_blocking = True

    def forward(self, data: dict, training: bool = False) -> dict:
        """Move to the device, convert to RGB and normalise.

        Args:
            data: ``inputs`` is the list of views, each (B, 3, H, W) or a list
                of B images, while training, and what
                :class:`ClsDataPreprocessor` takes otherwise;
                ``data_samples`` a list of B samples.
            training: Whether the batch holds views.

        Returns:
            ``inputs`` (a list of normalised views while training) and
            ``data_samples``.

        Raises:
            ValueError: If a training batch does not hold two views.
        """
        if not training:
            return super().forward(data, training)
        views = data['inputs']
        if isinstance(views, torch.Tensor) or len(views) != 2:
            raise ValueError(
                'the model trains on two views of each image (MUST: weak, '
                "then strong): put dict(type='CropViews', transforms=[first, "
                "second]), or MMPretrain's MultiView, into "
                'train_dataloader.dataset.pipeline and '
                "collate_fn=dict(type='default_collate') beside it"
            )
        forward = super().forward
        return dict(
            inputs=[forward(dict(inputs=view))['inputs'] for view in views],
            data_samples=data.get('data_samples'),
        )
