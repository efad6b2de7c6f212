"""MUST: masked unsupervised self-training (arXiv 2206.02967)."""

import copy
from collections.abc import Iterator, Sequence
from itertools import chain

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS, TASK_UTILS
from mmpretrain.structures import DataSample

from ..utils.distributed import to_device
from ..utils.validation import check_type
from .architecture import check_architecture
from .freezing import freeze_except
from .local_features import capture, mask_on_grid, to_map, to_patches
from .masking import mask_for

STUDENT, TEACHER = 'student', 'teacher'
DECODE_ALL, DECODE_MASKED = 'all', 'masked'
CLASSIFIER_PARTS = ('backbone', 'neck', 'head')


@MODELS.register_module()
class MUST(ImageClassifier):
    """An image classifier whose ``loss`` is one step of MUST (Sec. 3).

    The student is the classifier itself (``backbone``, ``neck``, ``head``);
    the teacher is a plain :class:`ImageClassifier` with an exponential moving
    average of its weights, kept by :class:`EMATeacherHook`. Masked image
    modelling and alignment need masks, hence something to put in the masked
    places and local features, those of the backbone's last feature map; leave
    ``decoder``, ``mim_head`` and ``align_loss`` out for self-training alone.

    Args:
        backbone: Config of any backbone of MMPretrain.
        neck: Config of the way to the global feature: CLIP's projection,
            pooling, or none where the backbone pools.
        head: Config of the pseudo-label head.
        decoder: Config of the decoder from the map of local features
            (B, D, h, w) to the image (B, 3, H, W).
        mim_head: Config of the head with the reconstruction loss.
        align_loss: Config of the global-local alignment loss.
        masking: Config of what stands in the masked places; ``None`` takes a
            :class:`MaskToken` where the backbone embeds patches, and a
            :class:`MaskColour` elsewhere.
        local_features: Name of the backbone's module that returns the last
            feature map, such as ``'layers.11'`` of a vision transformer, for
            a backbone that pools; ``None`` where the backbone returns it.
        start: Config of the weights to start from, for instance
            :class:`OpenCLIPStart`; ``None`` where ``load_from`` brings them.
        predict_with: Whose predictions ``predict``, ``extract_feat`` and the
            tensor mode return: ``'student'`` or ``'teacher'``.
        decode: What the decoder reconstructs: ``'all'`` patches, or the
            ``'masked'`` ones, which are those that the loss reads. The latter
            needs a decoder that sees each patch alone, such as SimMIM's, and
            masks on the grid of the feature map.
        teacher_inference_mode: Whether the teacher runs under torch's
            inference mode; otherwise without gradient.
        train_only: What of the model trains, see :func:`freeze_except`;
            everything by default.
        data_preprocessor: Config of the preprocessor of the views.
        init_cfg: MMEngine's initialisation config.

    Raises:
        ValueError: If ``predict_with`` is neither student nor teacher,
            ``decode`` neither all nor masked, or only one of ``decoder`` and
            ``mim_head`` is given.
        TypeError: If a part is no config.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict | None = None,
        head: dict | None = None,
        decoder: dict | None = None,
        mim_head: dict | None = None,
        align_loss: dict | None = None,
        masking: dict | None = None,
        local_features: str | None = None,
        start: dict | None = None,
        predict_with: str = STUDENT,
        decode: str = DECODE_ALL,
        teacher_inference_mode: bool = True,
        train_only: Sequence[str] | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        check_type('model.backbone', backbone, dict, nn.Module)
        check_type('model.neck', neck, dict, nn.Module, type(None))
        check_type('model.head', head, dict, nn.Module)
        for name, part in dict(
            decoder=decoder,
            mim_head=mim_head,
            align_loss=align_loss,
            masking=masking,
            start=start,
            data_preprocessor=data_preprocessor,
        ).items():
            check_type(f'model.{name}', part, dict, type(None))
        check_type('model.local_features', local_features, str, type(None))
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
        if decode not in (DECODE_ALL, DECODE_MASKED):
            raise ValueError(
                f"model.decode must be '{DECODE_ALL}' or '{DECODE_MASKED}', "
                f'got {decode!r}'
            )
        check_type(
            'model.teacher_inference_mode', teacher_inference_mode, bool
        )
        self.predict_with = predict_with
        self.decode = decode
        self.no_grad = (
            torch.inference_mode if teacher_inference_mode else torch.no_grad
        )
        self.start = start and TASK_UTILS.build(start)
        self.teacher = self.build_teacher()
        self.decoder = decoder and MODELS.build(decoder)
        self.mim_head = mim_head and MODELS.build(mim_head)
        self.align_loss = align_loss and MODELS.build(align_loss)
        if self.with_masking:
            self.mask_token = (
                MODELS.build(masking) if masking else mask_for(self.backbone)
            )
            self.local_features = local_features
            self.ln_patch = self.build_patch_norm()
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

    def build_patch_norm(self) -> nn.Module:
        """Build ``ln_patch``, or nothing where features are normalised.

        A classifier that normalises what it pools (CLIP's projection, a
        backbone that pools) leaves its map raw; a map that goes straight
        into pooling shares a space with the global feature as it is.
        """
        if self.local_features is None and not hasattr(self.neck, 'project'):
            return nn.Identity()
        width = getattr(self.backbone, 'embed_dims', self.head.in_channels)
        return nn.LayerNorm(width, eps=1e-5)

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

        Raises:
            ValueError: If backbone, neck and head do not match.
        """
        parts = tuple(f'{prefix}{part}.' for part in CLASSIFIER_PARTS)

        # a module may be shared: by the layers of EVA-02, for one
        def named(tensors: Iterator) -> dict[str, torch.Tensor]:
            return {prefix + name: tensor for name, tensor in tensors}

        own = {
            name: param
            for name, param in named(
                self.named_parameters(remove_duplicate=False)
            ).items()
            if name.startswith(parts)
        }
        known = own | named(self.named_buffers(remove_duplicate=False))
        teacher = f'{prefix}teacher.'
        with_teacher = any(name.startswith(teacher) for name in state_dict)
        if with_teacher:
            own |= {
                teacher + name: param
                for name, param in self.teacher.named_parameters()
            }
        check_architecture(
            own,
            state_dict,
            'model.backbone, model.neck and model.head',
            surplus=[
                name
                for name in state_dict
                if name.startswith(parts) and name not in known
            ],
        )
        if not with_teacher:
            for name in self.teacher.state_dict():
                if prefix + name in state_dict:
                    state_dict[teacher + name] = state_dict[prefix + name]

    def train(self, mode: bool = True) -> 'MUST':
        """Set the student's mode; the teacher always stays in eval mode."""
        super().train(mode)
        self.teacher.eval()
        return self

    def get_layer_depth(self, param_name: str) -> tuple[int, int]:
        """Depth for layer decay, with the stem of CLIP at depth 0.

        MMPretrain's backbone puts the pre-norm at the last depth, and does
        not know the mask token, which replaces patch embeddings.

        Raises:
            NotImplementedError: If the backbone knows no depths.
        """
        if not hasattr(self.backbone, 'get_layer_depth'):
            raise NotImplementedError(
                f'{type(self.backbone).__name__} has no layer depths for '
                'layer decay: set optim_wrapper.constructor='
                "'DefaultOptimWrapperConstructor'"
            )
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
                self.global_features(self.backbone(strong)),
                data_samples,
                teacher_probs,
            )

        # read on the host, where it comes from: no device has to wait
        mask = self.stack_masks(data_samples)
        on_device = to_device(mask, strong.device)
        feats, patches = self.masked_features(strong, on_device)
        global_feats = self.global_features(feats)
        losses = self.head.loss(global_feats, data_samples, teacher_probs)
        if self.align_loss is not None or self.decode == DECODE_MASKED:
            masked = mask_on_grid(mask, patches.shape[2:])
            places = masked.flatten().nonzero()[:, 0]
            places = to_device(places, strong.device)
            tokens = patches.movedim(1, -1).flatten(0, 2)[places]
        if self.decode == DECODE_MASKED and self.decoder is not None:
            losses['loss_mim'] = self.masked_reconstruction_loss(
                tokens, strong, mask, places
            )
        elif self.decoder is not None:
            losses['loss_mim'] = self.reconstruction_loss(
                self.decoder(patches), strong, on_device
            )
        if self.align_loss is not None:
            image = places // masked[0].numel()
            losses['loss_align'] = self.align_loss(
                self.project(tokens),
                self.head.joint_feature(global_feats)[image],
            )
        return losses

    def teacher_probs(self, weak: torch.Tensor) -> torch.Tensor:
        """``q = softmax(teacher(w))``, (B, K), of the weak view (Sec. 3.1)."""
        with self.no_grad():
            probs = self.teacher(weak).float().softmax(dim=1)
        return probs.clone()  # autograd keeps no tensor of inference mode

    def masked_features(
        self, images: torch.Tensor, mask: torch.Tensor
    ) -> tuple[tuple, torch.Tensor]:
        """What the student sees of masked images.

        Args:
            images: Normalised images, (B, 3, H, W).
            mask: (B, h, w), true where masked.

        Returns:
            The outputs of the backbone, and the map of the local features
            ``p = ln_patch(x_patches)``, (B, D, n, n).
        """
        with (
            self.mask_token.masking(self.backbone, mask),
            capture(self.backbone, self.local_features) as captured,
        ):
            feats = self.backbone(images)
        last = to_map(
            (captured or feats)[-1],
            getattr(self.backbone, 'num_extra_tokens', 0),
        )
        return feats, self.ln_patch(last.movedim(1, -1)).movedim(-1, 1)

    def global_features(self, feats: tuple) -> tuple:
        """Bring the outputs of the backbone to what the head reads."""
        return self.neck(feats) if self.with_neck else feats

    def project(self, patches: torch.Tensor) -> torch.Tensor:
        """Map (..., D) local features to unit vectors beside ``g``."""
        if hasattr(self.neck, 'project'):
            return self.neck.project(patches)
        return F.normalize(patches, dim=-1)

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
            ValueError: If the decoder's stride is not that of the feature
                map, or the head's patch size not that of the mask.
        """
        if reconstruction.shape != image.shape:
            raise ValueError(
                'model.decoder.encoder_stride must be the stride of the '
                "backbone's last feature map (the patch size of a vision "
                f'transformer): the view is {tuple(image.shape)}, '
                f'its reconstruction {tuple(reconstruction.shape)}'
            )
        self.check_mask_side(image, mask)
        return self.mim_head.loss(reconstruction, image, mask)

    def masked_reconstruction_loss(
        self,
        tokens: torch.Tensor,
        image: torch.Tensor,
        mask: torch.Tensor,
        places: torch.Tensor,
    ) -> torch.Tensor:
        """``L_mim`` from the masked patches alone, the same value.

        Args:
            tokens: Local features of the masked patches, (M, D).
            image: The normalised strong view, (B, 3, H, W).
            mask: (B, n, n), true where masked.
            places: Indices (M,) of the masked patches in the mask.

        Raises:
            ValueError: If the mask is not on the grid of the feature map, or
                the decoder's stride is not that of the map.
        """
        side = self.check_mask_side(image, mask)
        # the masked patches as one column of a feature map
        column = self.decoder(tokens.t()[None, :, :, None])[0]
        if column.shape[1:] != (len(tokens) * side, side):
            raise ValueError(
                f"model.decode='{DECODE_MASKED}' needs masks on the grid of "
                "the backbone's last feature map, and a decoder of its "
                f'stride: a cell of the mask is {side} pixels wide '
                '(MUSTMaskGenerator.model_patch_size), what the decoder '
                f'makes of it (model.decoder.encoder_stride) {column.shape[2]}'
                f". Make them equal, or set model.decode='{DECODE_ALL}'"
            )
        reconstruction = column.unflatten(1, (-1, side)).movedim(1, 0)
        whole = to_patches(image, side).flatten(0, 2)
        return self.mim_head.loss(
            reconstruction, whole[places], image.new_ones(len(tokens), 1, 1)
        )

    def check_mask_side(self, image: torch.Tensor, mask: torch.Tensor) -> int:
        """Return the side of the mask's cells in pixels.

        Raises:
            ValueError: If it is not that of the reconstruction loss.
        """
        side = image.shape[-1] // mask.shape[-1]
        if self.mim_head.patch_size != side:
            raise ValueError(
                f'model.mim_head.patch_size is {self.mim_head.patch_size}, '
                f'the cells of the mask are {side} pixels wide '
                '(MUSTMaskGenerator.model_patch_size): make them equal'
            )
        return side

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
                "'MUSTMaskGenerator', ...) after the two views in "
                'train_dataloader.dataset.pipeline'
            )
        return torch.stack([sample.mask for sample in data_samples]).bool()
