"""Normalise both training views as one validation image is normalised."""

import torch
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.registry import MODELS


@MODELS.register_module()
class TwoViewDataPreprocessor(ClsDataPreprocessor):
    """MMPretrain's classification preprocessor, applied to each view.

    Outside training it is :class:`ClsDataPreprocessor`, so that an exported
    classifier sees exactly the images that MUST was validated on. Takes the
    same arguments.
    """

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
                "then strong): put dict(type='MultiView', num_views=[1, 1], "
                'transforms=[first, second]) into '
                'train_dataloader.dataset.pipeline and '
                "collate_fn=dict(type='default_collate') beside it"
            )
        forward = super().forward
        return dict(
            inputs=[forward(dict(inputs=view))['inputs'] for view in views],
            data_samples=data.get('data_samples'),
        )
