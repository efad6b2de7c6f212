"""MUST: masked unsupervised self-training (arXiv 2206.02967)."""

import copy
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import torch
import torch.nn as nn
from mmengine.registry import Registry
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS, TASK_UTILS
from mmpretrain.structures import DataSample

from ..checkpoints.earlier_names import EARLIER_NAMES, rename_parts
from ..utils.distributed import to_device
from ..utils.validation import check_choice, check_strings, check_type
from .architecture import check_architecture
from .freezing import freeze_except
from .label_loss import (
    UNKNOWN,
    known_labels,
    with_weak_views,
)
from .lean_vision_transformer import reading
from .local_features import capture, to_map, unit_length
from .masked_view import MaskedView, from_column, masked_tokens, one_column
from .masking import mask_for
from .pseudo_labels import Labels
from .running_statistics import running_statistics_kept
from .start_predictions import sample_numbers

STUDENT, TEACHER = 'student', 'teacher'
DECODE_ALL, DECODE_MASKED = 'all', 'masked'
SHARED, SEPARATE, OFF = 'shared', 'separate', 'off'
CLASSIFIER_PARTS = ('backbone', 'neck', 'head')


def built(
    name: str,
    part: dict | nn.Module | None,
    registry: Registry = MODELS,
    needed: bool = False,
):
    """Build a part of the model from its config, nothing from ``None``.

    Args:
        name: The part's key in the model's config.
        part: Its config, or the part itself.
        registry: Where its type is registered.
        needed: Whether there is no model without it.

    Raises:
        TypeError: If it is neither, with its key.
    """
    none = () if needed else (type(None),)
    check_type(f'model.{name}', part, dict, nn.Module, *none)
    return registry.build(part) if isinstance(part, dict) else part


class LastStep(NamedTuple):
    """What the last step has seen, for hooks that watch it.

    Attributes:
        probs: The teacher's own probabilities, (B, K).
        feats: The student's global features of unit length, (B, E).
        numbers: Numbers of the samples, (B,), where the start's predictions
            are known.
    """

    probs: torch.Tensor
    feats: torch.Tensor
    numbers: torch.Tensor | None


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
        label_loss: Config of the loss on labels that may be used, such as
            :class:`LabelLoss`; without it no label reaches a loss.
        masking: Config of what stands in the masked places; ``None`` takes a
            :class:`MaskToken` where the backbone embeds patches, and a
            :class:`MaskColour` elsewhere.
        local_features: Name of the backbone's module that returns the last
            feature map, such as ``'layers.11'`` of a vision transformer, for
            a backbone that pools; ``None`` where the backbone returns it.
        masked_view: What the masked view is for. ``'shared'``, as published:
            one pass over it for all terms. ``'separate'``, as in MIC (Hoyer
            et al., arXiv 2212.01322): the student learns labels from the
            whole strong view, and in a pass of its own, which leaves the
            running statistics of batch norms alone, to reconstruct and align
            what is masked. ``'off'``: self-training alone, even where decoder
            and alignment are configured.
        pseudo_labels: Config of :class:`PseudoLabels`, which makes better
            labels of the teacher's predictions; ``None`` takes these as they
            are, as published.
        start: Config of the weights to start from, for instance
            :class:`OpenCLIPStart`; ``None`` where ``load_from`` brings them.
        predict_with: Whose predictions ``predict``, ``extract_feat`` and the
            tensor mode return: ``'student'`` or ``'teacher'``.
        decode: What the decoder reconstructs: the ``'masked'`` patches,
            which are those that the loss reads, or ``'all'``. The former
            needs a decoder that sees each patch alone, such as SimMIM's, and
            masks whose cells are patches of the feature map or blocks of
            them; the value is the same.
        train_only: What of the model trains, see :func:`freeze_except`;
            everything by default.
        data_preprocessor: Config of the preprocessor of the views.
        init_cfg: MMEngine's initialisation config.

    Raises:
        ValueError: If ``predict_with`` is neither student nor teacher,
            ``decode`` neither all nor masked, ``masked_view`` something else
            than it can be, or only one of ``decoder`` and ``mim_head`` is
            given.
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
        label_loss: dict | None = None,
        masking: dict | None = None,
        local_features: str | None = None,
        masked_view: str = SHARED,
        pseudo_labels: dict | None = None,
        start: dict | None = None,
        predict_with: str = STUDENT,
        decode: str = DECODE_MASKED,
        train_only: Sequence[str] | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        check_type(
            'model.data_preprocessor', data_preprocessor, dict, type(None)
        )
        check_type('model.local_features', local_features, str, type(None))
        check_choice('model.decode', decode, DECODE_ALL, DECODE_MASKED)
        check_choice('model.masked_view', masked_view, SHARED, SEPARATE, OFF)
        check_type('model.pseudo_labels', pseudo_labels, dict, type(None))
        if (decoder is None) != (mim_head is None):
            raise ValueError(
                'model.decoder and model.mim_head belong '
                'together: give both or neither'
            )
        if masked_view == OFF:
            decoder = mim_head = align_loss = None
        super().__init__(
            backbone=built('backbone', backbone, needed=True),
            neck=built('neck', neck),
            head=built('head', head, needed=True),
            data_preprocessor=dict(
                dict(type='TwoViewDataPreprocessor'), **data_preprocessor or {}
            ),
            init_cfg=init_cfg,
        )
        self.predict_with = predict_with
        self.decode = decode
        self.local_features = local_features
        self.start = built('start', start, TASK_UTILS)
        self.teacher = self.build_teacher()
        self.pseudo_labels = self.build_pseudo_labels(pseudo_labels)
        self.labels_unmasked = masked_view == SEPARATE
        self.last_step: LastStep | None = None
        self.decoder = built('decoder', decoder)
        self.mim_head = built('mim_head', mim_head)
        self.align_loss = built('align_loss', align_loss)
        self.label_loss = built('label_loss', label_loss)
        if self.with_masking:
            self.masking = built('masking', masking) or mask_for(self.backbone)
            self.ln_patch = self.build_patch_norm()
        if train_only is not None:
            check_strings('model.train_only', train_only)
            freeze_except(
                self, [EARLIER_NAMES.get(name, name) for name in train_only]
            )
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
        check_choice('model.predict_with', who, STUDENT, TEACHER)
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

    def build_pseudo_labels(self, config: dict | None) -> nn.Module | None:
        """Build :class:`PseudoLabels` for the classes and features here.

        The prior that the fairness loss is told is the alignment's, too,
        where that has none of its own.
        """
        if config is None:
            return None
        prior = getattr(self.head.fairness_loss, 'prior', None)
        alignment = config.get('alignment')
        if prior is not None and alignment is not None:
            stated = alignment.get('prior') or prior.tolist()
            config = dict(config, alignment=dict(alignment, prior=stated))
        sizes = dict(
            num_classes=self.head.num_classes,
            in_channels=self.head.in_channels,
        )
        return MODELS.build(dict(dict(type='PseudoLabels'), **config, **sizes))

    def build_patch_norm(self) -> nn.Module:
        """Build ``ln_patch``, or nothing where features are normalised.

        A classifier that normalises what it pools (CLIP's projection, a
        backbone that pools) leaves its map raw; a map that goes straight
        into pooling shares a space with the global feature as it is.
        """
        neck_normalises = getattr(self.neck, 'normalises', False)
        if self.local_features is None and not neck_normalises:
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
        """Check the architecture; let a plain classifier fill both.

        Raises:
            ValueError: If backbone, neck and head do not match.
        """
        rename_parts(state_dict, prefix)
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
        not know what stands in the masked places.

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
        stem = ('backbone.pre_norm.', 'masking.')
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

        With a ``label_loss``, labels that may be used stand in place of
        their pseudo-labels, ``L_lab`` is added, and the student sees every
        second labelled image in its weak view.

        Args:
            inputs: The weak and the strong view, each (B, 3, H, W).
            data_samples: B samples; ``mask`` (h, w) where the model masks.

        Returns:
            The weighted loss terms and what the head logs.
        """
        weak, strong = inputs
        probs, teacher_feats = self.teacher_sees(weak)
        numbers = self.known_numbers(data_samples)
        labels = self.label(probs, teacher_feats, numbers)
        known = None
        if self.label_loss is not None:
            known = to_device(known_labels(data_samples), strong.device)
            labels = labels.corrected(known)
            strong = with_weak_views(weak, strong, known)

        view = None
        if self.with_masking:
            view = self.masked_view(strong, self.stack_masks(data_samples))
        shared = view is not None and not self.labels_unmasked
        feats = (
            self.global_features(view.feats) if shared else self.see(strong)
        )
        losses = self.head.loss(feats, data_samples, *labels)
        losses |= self.learn_labels(feats, known)
        if view is not None:
            masked = feats if shared else self.global_features(view.feats)
            losses |= self.reconstruct(view)
            losses |= self.align(view, self.head.joint_feature(masked))
        self.last_step = LastStep(
            probs, self.head.joint_feature(feats).detach(), numbers
        )
        return losses

    def known_numbers(
        self, data_samples: list[DataSample]
    ) -> torch.Tensor | None:
        """Numbers of the samples, (B,), if the start has labelled them."""
        if self.pseudo_labels is None or not len(self.pseudo_labels.start):
            return None
        return to_device(
            sample_numbers(data_samples), self.data_preprocessor.device
        )

    @torch.no_grad()
    def label(
        self,
        probs: torch.Tensor,
        feats: torch.Tensor,
        numbers: torch.Tensor | None,
    ) -> Labels:
        """Label the batch with what the teacher says of the weak view.

        Args:
            probs: The teacher's probabilities, (B, K).
            feats: Its global features of unit length, (B, E).
            numbers: Numbers of the samples, (B,), where they are known.

        Returns:
            The teacher's probabilities, or what :class:`PseudoLabels` makes
            of them.
        """
        if self.pseudo_labels is None:
            return Labels(probs)
        with torch.autocast(probs.device.type, enabled=False):
            return self.pseudo_labels(probs, feats, numbers)

    def teacher_probs(self, weak: torch.Tensor) -> torch.Tensor:
        """``q = softmax(teacher(w))``, (B, K), of the weak view (Sec. 3.1)."""
        return self.teacher_sees(weak)[0]

    def teacher_sees(
        self, images: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the teacher's probabilities (B, K) and features (B, E).

        The features are global ones, of unit length.
        """
        read = self.class_token(images)
        with torch.inference_mode(), reading(self.teacher.backbone, read):
            feats = self.teacher.extract_feat(images)
            probs = self.teacher.head(feats).float().softmax(dim=1)
            joint = self.teacher.head.joint_feature(feats).float()
        # autograd keeps no tensor of inference mode
        return probs.clone(), joint.clone()

    def see(self, images: torch.Tensor) -> tuple:
        """Return the student's global features of whole images."""
        with reading(self.backbone, self.class_token(images)):
            return self.global_features(self.backbone(images))

    def class_token(self, images: torch.Tensor) -> torch.Tensor | None:
        """Indices (B, 1) of the class tokens, if these alone are read."""
        if not self.class_token_classifies:
            return None
        return torch.zeros(
            len(images), 1, dtype=torch.long, device=images.device
        )

    def masked_view(
        self, images: torch.Tensor, mask: torch.Tensor
    ) -> MaskedView:
        """Look at the images through a mask (B, h, w) on the host."""
        on_device = to_device(mask, images.device)
        read = None
        if self.class_token_classifies and self.decode == DECODE_MASKED:
            read = masked_tokens(mask, self.backbone.grid_of(images))
        if read is not None:
            read = to_device(read, images.device)
        with reading(self.backbone, read):
            feats, last = self.masked_maps(images, on_device)
        return MaskedView(images, mask, feats, last, self.ln_patch)

    @property
    def class_token_classifies(self) -> bool:
        """Whether the class token is all that the classifier reads."""
        return getattr(
            self.backbone, 'returns_last_tokens', False
        ) and getattr(self.neck, 'reads_class_token', False)

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
        feats, last = self.masked_maps(images, mask)
        return feats, self.ln_patch(last.movedim(1, -1)).movedim(-1, 1)

    def masked_maps(
        self, images: torch.Tensor, mask: torch.Tensor
    ) -> tuple[tuple, torch.Tensor]:
        """Likewise, the map as it comes from the backbone."""
        with (
            self.masking.hide(self.backbone, mask),
            running_statistics_kept(self.backbone, self.labels_unmasked),
            capture(self.backbone, self.local_features) as captured,
        ):
            feats = self.backbone(images)
        last = to_map(
            (captured or feats)[-1],
            getattr(self.backbone, 'num_extra_tokens', 0),
        )
        return feats, last

    def global_features(self, feats: tuple) -> tuple:
        """Bring the outputs of the backbone to what the head reads."""
        return self.neck(feats) if self.with_neck else feats

    def project(self, patches: torch.Tensor) -> torch.Tensor:
        """Map (..., D) local features to unit vectors beside ``g``."""
        to_joint_space = getattr(self.neck, 'project', unit_length)
        return to_joint_space(patches)

    def reconstruct(self, view: MaskedView) -> dict[str, torch.Tensor]:
        """``L_mim``: L1 distance on the masked pixels (Sec. 3.2).

        Returns:
            ``loss_mim``, or nothing without a decoder.

        Raises:
            ValueError: If the decoder's stride is not that of the feature
                map, or the head's patch size not that of the mask.
        """
        if self.decoder is None:
            return {}
        self.check_mask_side(view.image, view.mask)
        if self.decode == DECODE_ALL:
            reconstruction = self.decoder(view.patches)
            image, mask = view.image, to_device(view.mask, view.image.device)
        else:
            reconstruction = self.decode_blocks(view)
            image = view.cut(view.image)
            mask = image.new_ones(len(image), 1, 1)
        if reconstruction.shape != image.shape:
            raise ValueError(
                'model.decoder.encoder_stride must be the stride of the '
                "backbone's last feature map (the patch size of a vision "
                f'transformer): what is masked has {image.shape[-1]} pixels, '
                f'its reconstruction {reconstruction.shape[-1]}'
            )
        return dict(loss_mim=self.mim_head.loss(reconstruction, image, mask))

    def decode_blocks(self, view: MaskedView) -> torch.Tensor:
        """Reconstruct the M masked blocks alone, (M, 3, side, side).

        Raises:
            ValueError: If they are no blocks of the feature map.
        """
        if view.cells.shape != view.mask.shape:
            raise ValueError(
                f"model.decode='{DECODE_MASKED}' needs a mask whose cells "
                "are patches of the backbone's last feature map or blocks of "
                f'them: along an edge the mask has {view.mask.shape[-1]} '
                f'cells, the map {view.patches.shape[-1]} patches. Set '
                'MUSTMaskGenerator.model_patch_size to a multiple of the '
                f"map's stride, or model.decode='{DECODE_ALL}'"
            )
        column = self.decoder(one_column(view.blocks))
        return from_column(column, len(view.blocks))

    def align(
        self, view: MaskedView, global_feats: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """``L_align``: local features close to the global one (Sec. 3.3).

        Args:
            view: The masked view.
            global_feats: Global features ``g`` of the images, (B, E), of
                unit length.

        Returns:
            ``loss_align``, or nothing without an alignment loss.
        """
        if self.align_loss is None:
            return {}
        local = self.project(view.blocks.movedim(1, -1).flatten(1, 2))
        # one by one, as the blocks of a plain mask come
        owners = view.owners.repeat_interleave(local.shape[1])
        return dict(
            loss_align=self.align_loss(
                local.flatten(0, 1), global_feats[owners]
            )
        )

    def learn_labels(
        self, feats: tuple, known: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        """``L_lab``: the labels that may be used.

        Args:
            feats: Global features of what the student saw.
            known: Labels (B,), negative where there is none.

        Returns:
            ``loss_lab``, and ``labelled``, the share of the batch in [0, 1];
            or nothing without a label loss.
        """
        if known is None:
            return {}
        return dict(
            loss_lab=self.label_loss(self.head(feats), known),
            labelled=(known != UNKNOWN).float().mean(),
        )

    def check_mask_side(self, image: torch.Tensor, mask: torch.Tensor) -> None:
        """Check that the reconstruction loss reads the mask's cells.

        Raises:
            ValueError: If its patch size is not their side in pixels.
        """
        side = image.shape[-1] // mask.shape[-1]
        if self.mim_head.patch_size != side:
            raise ValueError(
                f'model.mim_head.patch_size is {self.mim_head.patch_size}, '
                f'the cells of the mask are {side} pixels wide '
                '(MUSTMaskGenerator.model_patch_size): make them equal'
            )

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
