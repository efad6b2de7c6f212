"""MAE-CT: contrastive tuning of masked autoencoders (arXiv 2304.10520)."""

import copy
from itertools import chain

import torch
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from ..utils.validation import check_number
from .architecture import check_architecture
from .ema import ema_update


@MODELS.register_module()
class MAECT(ImageClassifier):
    """An encoder and an :class:`NNCLRHead` (Sec. 3).

    Both training stages that follow masked autoencoding are this model. In
    stage 2 the encoder is frozen (``backbone.frozen_stages`` is its depth)
    and the head learns. In stage 3 the upper half of the encoder learns too,
    the head has a target projector (``head.target_decay``), and a moving
    average of the encoder is kept. :class:`MAECTAveragesHook` updates both.

    Features for evaluation (``extract_feat`` and the tensor mode) come from
    the averaged encoder where there is one.

    Args:
        backbone: Config of a vision transformer that returns the features,
            ``out_type='cls_token'``, or a map for ``neck`` to pool.
        head: Config of the :class:`NNCLRHead`.
        neck: Config of the pooling, (B, D, h, w) to (B, D); none for the
            class token.
        encoder_decay: Weight of the past in the moving average of the
            encoder, in [0, 1]; ``None`` keeps none.
        data_preprocessor: Config of the preprocessor of the views.
        init_cfg: MMEngine's initialisation config.

    Raises:
        ValueError: If the decay is out of range or encoder and head are of
            different width.
    """

    def __init__(
        self,
        backbone: dict,
        head: dict,
        neck: dict | None = None,
        encoder_decay: float | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        data_preprocessor = dict(data_preprocessor or {})
        data_preprocessor.setdefault('type', 'TwoViewDataPreprocessor')
        super().__init__(
            backbone=backbone,
            neck=neck,
            head=head,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        if encoder_decay is not None:
            check_number('model.encoder_decay', encoder_decay, '[0, 1]')
        if self.head.in_channels != self.backbone.embed_dims:
            raise ValueError(
                f'model.head.projector.in_channels is {self.head.in_channels},'
                f' the width of model.backbone is {self.backbone.embed_dims}: '
                'make them equal'
            )
        self.encoder_decay = encoder_decay
        self.encoder_ema = None
        if encoder_decay is not None:
            self.encoder_ema = copy.deepcopy(self.backbone)
            self.encoder_ema.requires_grad_(False).eval()
        self._register_load_state_dict_pre_hook(self._before_load)

    @property
    def needs_trained_head(self) -> bool:
        """Whether this is stage 3, which starts from stage 2's head."""
        return self.head.target_projector is not None

    # ------------------------------------------------------------ weights

    def init_weights(self) -> None:
        """Initialise; the averaged encoder starts as a copy."""
        super().init_weights()
        if self.encoder_ema is not None:
            self.encoder_ema.load_state_dict(self.backbone.state_dict())

    def _before_load(self, state_dict: dict, prefix: str, *_args) -> None:
        """Check the architecture; let one encoder fill both.

        Raises:
            ValueError: If the encoder or, where one is needed or given, the
                head does not match.
        """
        with_head = any(
            name.startswith(f'{prefix}head.') for name in state_dict
        )
        if self.needs_trained_head and not with_head:
            raise ValueError(
                'the checkpoint holds no head (projector, predictor, queue), '
                'from which contrastive tuning starts. Train it with the '
                'stage-2 config of this model, then set load_from to the '
                'checkpoint of that run'
            )
        parts = ('backbone.', 'head.') if with_head else ('backbone.',)
        check_architecture(
            {prefix + name: own for name, own in self.named_state(parts)},
            state_dict,
            'model.backbone and model.head',
        )
        ema = f'{prefix}encoder_ema.'
        if self.encoder_ema is None or any(
            name.startswith(ema) for name in state_dict
        ):
            return
        for name in self.encoder_ema.state_dict():
            state_dict[ema + name] = state_dict[f'{prefix}backbone.{name}']

    def named_state(self, parts: tuple[str, ...]):
        """Yield names and tensors that a checkpoint must hold.

        The target projector is left out: it may start as a copy.
        """
        for name, value in self.state_dict().items():
            if name.startswith(parts) and 'target_projector.' not in name:
                yield name, value

    @torch.no_grad()
    def update_averages(self) -> None:
        """Update both moving averages, after a step of the optimizer."""
        self.head.update_target()
        if self.encoder_ema is not None:
            averaged, current = (
                list(chain(encoder.parameters(), encoder.buffers()))
                for encoder in (self.encoder_ema, self.backbone)
            )
            ema_update(averaged, current, self.encoder_decay)

    def train(self, mode: bool = True) -> 'MAECT':
        """Set the mode; what never trains stays in eval mode."""
        super().train(mode)
        if self.encoder_ema is not None:
            self.encoder_ema.eval()
        if not any(p.requires_grad for p in self.backbone.parameters()):
            self.backbone.eval()
        return self

    # ------------------------------------------------------------- forward

    def loss(
        self, inputs: list[torch.Tensor], data_samples: list[DataSample]
    ) -> dict[str, torch.Tensor]:
        """One step: the encoder on both views at once, then the head.

        Args:
            inputs: The two views, each (B, 3, H, W).
            data_samples: B samples with ``sample_idx``.

        Returns:
            What :meth:`NNCLRHead.loss` returns.
        """
        feats = self._pool(self.backbone(torch.cat(inputs)))[-1]
        return self.head.loss(feats.chunk(len(inputs)), data_samples)

    def _pool(self, feats: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        return self.neck(feats) if self.with_neck else feats

    def extract_feat(
        self, inputs: torch.Tensor, stage: str = 'neck'
    ) -> tuple[torch.Tensor, ...] | torch.Tensor:
        """Extract features with the averaged encoder, where there is one.

        Args:
            inputs: Images, (B, 3, H, W).
            stage: ``'backbone'``, ``'neck'`` or ``'pre_logits'``, as in
                MMPretrain's :class:`ImageClassifier`.

        Returns:
            For ``'pre_logits'`` the pooled features, (B, D), otherwise a
            tuple that ends with the features of that stage.
        """
        averaged = self.encoder_ema is not None
        feats = (self.encoder_ema if averaged else self.backbone)(inputs)
        if stage == 'backbone':
            return feats
        feats = self._pool(feats)
        return feats[-1] if stage == 'pre_logits' else feats

    def forward(
        self,
        inputs: torch.Tensor | list[torch.Tensor],
        data_samples: list[DataSample] | None = None,
        mode: str = 'tensor',
    ):
        """Train (``mode='loss'``) or return pooled features, (B, D).

        Raises:
            RuntimeError: For ``mode='predict'``: there are no classes.
        """
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'tensor':
            return self.extract_feat(inputs, 'pre_logits')
        raise RuntimeError(
            f'MAECT has no mode {mode!r}: it yields features, not classes'
        )
