"""MUST: masked unsupervised self-training (arXiv 2206.02967)."""

import copy
from collections.abc import Iterator, Sequence
from itertools import chain

import torch
import torch.nn as nn
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS, TASK_UTILS
from mmpretrain.structures import DataSample

from .freezing import freeze_except
from .masking import MaskToken

STUDENT, TEACHER = 'student', 'teacher'
CLASSIFIER_PARTS = ('backbone', 'neck', 'head')


@MODELS.register_module()
class MUST(ImageClassifier):
    """An image classifier whose ``loss`` is one step of MUST (Sec. 3).

    The student is the classifier itself (``backbone``, ``neck``, ``head``);
    the teacher is a plain :class:`ImageClassifier` with an exponential moving
    average of its weights, kept by :class:`EMATeacherHook`. Masked image
    modelling and alignment need masks, hence a mask token and a LayerNorm
    for the patches; leave ``decoder``, ``mim_head`` and ``align_loss`` out
    for self-training alone.

    Args:
        backbone: Config of a backbone that returns raw tokens, class token
            first.
        neck: Config of the projection to the global feature.
        head: Config of the pseudo-label head.
        decoder: Config of the decoder from the map of patch features
            (B, D, h, w) to the image (B, 3, H, W).
        mim_head: Config of the head with the reconstruction loss.
        align_loss: Config of the global-local alignment loss.
        start: Config of the weights to start from, for instance
            :class:`OpenCLIPStart`; ``None`` where ``load_from`` brings them.
        predict_with: Whose predictions ``predict``, ``extract_feat`` and the
            tensor mode return: ``'student'`` or ``'teacher'``.
        train_only: What of the model trains, see :func:`freeze_except`;
            everything by default.
        data_preprocessor: Config of the preprocessor of the views.
        init_cfg: MMEngine's initialisation config.

    Raises:
        ValueError: If ``predict_with`` is neither student nor teacher, or
            only one of ``decoder`` and ``mim_head`` is given.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        decoder: dict | None = None,
        mim_head: dict | None = None,
        align_loss: dict | None = None,
        start: dict | None = None,
        predict_with: str = STUDENT,
        train_only: Sequence[str] | None = None,
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
        if (decoder is None) != (mim_head is None):
            raise ValueError(
                'model.decoder and model.mim_head belong '
                'together: give both or neither'
            )
        self.predict_with = predict_with
        self.start = start and TASK_UTILS.build(start)
        self.teacher = self.build_teacher()
        self.decoder = decoder and MODELS.build(decoder)
        self.mim_head = mim_head and MODELS.build(mim_head)
        self.align_loss = align_loss and MODELS.build(align_loss)
        if self.with_masking:
            width = self.backbone.embed_dims
            self.mask_token = MaskToken(width)
            self.ln_patch = nn.LayerNorm(width, eps=1e-5)
        if train_only is not None:
            freeze_except(self, train_only)
        self._register_load_state_dict_pre_hook(self._before_load)

    @property
    def with_masking(self) -> bool:
        """Whether the strong view is masked."""
        return self.decoder is not None or self.align_loss is not None

    @property
    def predict_with(self) -> str:
        """Whose predictions are returned, ``'student'`` or ``'teacher'``."""
        return self._predict_with

    @predict_with.setter
    def predict_with(self, who: str) -> None:
        if who not in (STUDENT, TEACHER):
            raise ValueError(
                f"model.predict_with must be '{STUDENT}' or "
                f"'{TEACHER}', got {who!r}"
            )
        self._predict_with = who

    # ------------------------------------------------------------ weights

    def init_weights(self) -> None:
        """Initialise, load the start, then copy the student to the teacher.

        The start is loaded last: MMEngine initialises the children after
        their parent and would overwrite it.
        """
        super().init_weights()
        if self.start is not None:
            self.start.load_into(self)
        self.sync_teacher()

    def build_teacher(self) -> ImageClassifier:
        """Build the teacher: a copy of the classifier that never trains."""
        parts = {
            part: copy.deepcopy(getattr(self, part))
            for part in CLASSIFIER_PARTS
        }
        parts['head'].fairness_loss = None  # its running average is no weight
        teacher = ImageClassifier(
            data_preprocessor=self.data_preprocessor, **parts
        )
        return teacher.requires_grad_(False).eval()

    def teacher_and_student(
        self,
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield each parameter and buffer of the teacher with its source."""
        student = dict(chain(self.named_parameters(), self.named_buffers()))
        for name, averaged in chain(
            self.teacher.named_parameters(), self.teacher.named_buffers()
        ):
            yield averaged, student[name]

    @torch.no_grad()
    def sync_teacher(self) -> None:
        """Make the teacher an exact copy of the student."""
        for averaged, source in self.teacher_and_student():
            averaged.copy_(source)

    def _before_load(self, state_dict: dict, prefix: str, *_args) -> None:
        """Refuse other architectures; let a plain classifier fill both.

        MMEngine would load what fits, log the rest and train on noise.

        Raises:
            ValueError: If backbone, neck and head do not match.
        """
        own = {
            prefix + name: param
            for name, param in self.named_parameters()
            if name.split('.')[0] in CLASSIFIER_PARTS
        }
        differences = [
            f'{name} is missing' for name in own if name not in state_dict
        ]
        differences += [
            f'{name} is {tuple(state_dict[name].shape)}, here '
            f'{tuple(param.shape)}'
            for name, param in own.items()
            # position embeddings are resized to the grid by the backbone
            if name in state_dict
            and not name.endswith('pos_embed')
            and state_dict[name].shape != param.shape
        ]
        buffers = {prefix + name for name, _ in self.named_buffers()}
        differences += [
            f'{name} is not in the model'
            for name in state_dict
            if name[len(prefix) :].split('.')[0] in CLASSIFIER_PARTS
            and name not in own
            and name not in buffers
        ]
        if differences:
            shown = '; '.join(differences[:5])
            raise ValueError(
                f'these weights are of another architecture ({shown}'
                f'{"; ..." if len(differences) > 5 else ""}). Make '
                'model.backbone, model.neck and model.head those of the '
                'checkpoint, or give another checkpoint'
            )
        if not any(
            name.startswith(f'{prefix}teacher.') for name in state_dict
        ):
            for name in self.teacher.state_dict():
                if prefix + name in state_dict:
                    state_dict[f'{prefix}teacher.{name}'] = state_dict[
                        prefix + name
                    ]

    def train(self, mode: bool = True) -> 'MUST':
        """Set the student's mode; the teacher always stays in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def get_layer_depth(self, param_name: str) -> tuple[int, int]:
        """Depth for layer decay, with the stem of CLIP at depth 0.

        MMPretrain's backbone puts the pre-norm at the last depth, and does
        not know the mask token, which replaces patch embeddings.
        """
        depth, num_depths = super().get_layer_depth(param_name)
        stem = ('backbone.pre_norm.', 'mask_token.')
        return (0 if param_name.startswith(stem) else depth), num_depths

    # --------------------------------------------------------- prediction

    def forward(
        self,
        inputs: torch.Tensor,
        data_samples: list[DataSample] | None = None,
        mode: str = 'tensor',
    ):
        """Run in mode 'loss', 'predict' or 'tensor', as any classifier."""
        if mode != 'loss' and self.predict_with == TEACHER:
            return self.teacher(inputs, data_samples, mode)
        return super().forward(inputs, data_samples, mode)

    def extract_feat(self, inputs: torch.Tensor, stage: str = 'neck'):
        """Extract features of (B, 3, H, W) images, as any classifier."""
        if self.predict_with == TEACHER:
            return self.teacher.extract_feat(inputs, stage)
        return super().extract_feat(inputs, stage)

    # --------------------------------------------------------------- loss

    def loss(
        self, inputs: list[torch.Tensor], data_samples: list[DataSample]
    ) -> dict[str, torch.Tensor]:
        """One step of MUST: ``L = L_st + L_fair + L_mim + L_align``.

        Args:
            inputs: The weak and the strong view, each (B, 3, H, W).
            data_samples: B samples; ``mask`` (h, w) where the model masks.

        Returns:
            The weighted loss terms and what the head logs.
        """
        weak, strong = inputs
        teacher_probs = self.teacher_probs(weak)
        if not self.with_masking:
            return self.head.loss(
                self.neck(self.backbone(strong)), data_samples, teacher_probs
            )

        mask = self.stack_masks(data_samples).to(strong.device)
        with self.mask_token.masking(self.backbone, mask):
            feats = self.backbone(strong)
        global_feats = self.neck(feats)
        losses = self.head.loss(global_feats, data_samples, teacher_probs)
        patches = self.patch_features(feats)
        if self.decoder is not None:
            losses['loss_mim'] = self.reconstruction_loss(
                self.reconstruct(patches, mask), strong, mask
            )
        if self.align_loss is not None:
            image_of_patch, _ = mask.flatten(1).nonzero(as_tuple=True)
            losses['loss_align'] = self.align_loss(
                self.neck.project(patches[mask.flatten(1)]),
                global_feats[-1][image_of_patch],
            )
        return losses

    @torch.no_grad()
    def teacher_probs(self, weak: torch.Tensor) -> torch.Tensor:
        """``q = softmax(teacher(w))``, (B, K), of the weak view (Sec. 3.1)."""
        return self.teacher(weak).float().softmax(dim=1)

    def patch_features(self, feats: tuple[torch.Tensor]) -> torch.Tensor:
        """``p = ln_patch(x_patches)``, (B, N, D), of the raw tokens."""
        return self.ln_patch(feats[-1][:, self.backbone.num_extra_tokens :])

    def reconstruct(
        self, patches: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Predict the normalised image, (B, 3, H, W) (Sec. 3.2).

        Args:
            patches: Patch features, (B, N, D).
            mask: (B, h, w) with ``h * w = N``: the grid of the patches.
        """
        grid = mask.shape[1:]
        return self.decoder(patches.transpose(1, 2).unflatten(2, grid))

    def reconstruction_loss(
        self,
        reconstruction: torch.Tensor,
        image: torch.Tensor,
        mask: torch.Tensor,
    ) -> torch.Tensor:
        """``L_mim``: L1 distance on the masked pixels (Sec. 3.2).

        Args:
            reconstruction: The decoder's image, (B, 3, H, W).
            image: The normalised strong view, (B, 3, H, W).
            mask: (B, h, w), true where masked.

        Raises:
            ValueError: If the patch size of decoder or head is not the
                backbone's.
        """
        side = image.shape[-1] // mask.shape[-1]
        if reconstruction.shape != image.shape:
            raise ValueError(
                f'model.decoder.encoder_stride must be {side}, the patch '
                f'size of the backbone: the view is {tuple(image.shape)}, '
                f'its reconstruction {tuple(reconstruction.shape)}'
            )
        if self.mim_head.patch_size != side:
            raise ValueError(
                f'model.mim_head.patch_size is {self.mim_head.patch_size}, '
                f'the patch size of the backbone is {side}: make them equal'
            )
        return self.mim_head.loss(reconstruction, image, mask)

    @staticmethod
    def stack_masks(data_samples: list[DataSample]) -> torch.Tensor:
        """Stack the samples' masks to a boolean (B, h, w).

        Raises:
            ValueError: If a sample has no mask.
        """
        if not all('mask' in sample for sample in data_samples):
            raise ValueError(
                'the model masks (model.decoder or model.align_loss is set) '
                'but the samples have no mask: put dict(type='
                "'MUSTMaskGenerator', ...) after MultiView in "
                'train_dataloader.dataset.pipeline'
            )
        return torch.stack([sample.mask for sample in data_samples]).bool()
