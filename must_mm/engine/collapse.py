"""Collapse of self-training: seen without labels, before it is total.

A classifier that teaches itself may confirm its errors until few classes are
left. The losses fall all the while; what gives it away is how the labels that
it is sure of spread over the classes, how far its labels have gone from the
start's, and how many directions its features still use.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from ..checkpoints.resume import saved_values
from ..models.class_prior import uniform_prior
from ..models.effective_rank import effective_rank
from ..models.losses import confident
from ..models.must import MUST, LastStep
from ..utils.distributed import gather, unwrap
from ..utils.validation import check_integer, check_number, check_type
from .checkpoint_hook import LAST_SOUND, SOUND
from .health import is_due

#: What the averages remember: confident labels of each class, where these
#: are even, so that chance is no growth of one among a thousand; and images
#: of each.
LABELS_PER_CLASS, IMAGES_PER_CLASS = 20, 40
#: A class with less than this part of its due is lost.
LOST = 0.1


class Collapsed(RuntimeError):
    """Self-training has collapsed.

    Attributes:
        found: What was seen of it.
    """

    def __init__(self, message: str, found: str) -> None:
        super().__init__(message)
        self.found = found


@dataclass(frozen=True)
class Signals:
    """How far a run is from where it began; more is worse.

    A class is due its prior; or what the start gave it, where that is more
    and it grows, or less and it shrinks: what the start prefers or does not
    find is not the training's doing.

    Attributes:
        top_class: The class that has outgrown its due most.
        top_class_share: Its share of the confident labels, in [0, 1].
        class_growth: Its share over its due.
        lost_classes: Share of the classes, in [0, 1], that have less than a
            tenth of their due.
        rank_loss: What the features have lost of their effective rank, up to
            1; negative where it has grown.
        alignment: Mean cosine of local and global features, in [-1, 1]; 1
            where they tell nothing apart. 0 without alignment.
        start_disagreement: Share of the images, in [0, 1], that the teacher
            labels otherwise than the start; 0 where the start's labels are
            not known.
    """

    top_class: int = 0
    top_class_share: float = 0.0
    class_growth: float = 0.0
    lost_classes: float = 0.0
    rank_loss: float = 0.0
    alignment: float = 0.0
    start_disagreement: float = 0.0


class Limit(NamedTuple):
    """From where on a signal is a warning, and from where on the end."""

    warn: float
    stop: float


#: Set on the runs of docs/accuracy.md.
LIMITS = dict(
    class_growth=Limit(2.25, 3.0),
    lost_classes=Limit(0.25, 0.45),
    rank_loss=Limit(0.5, 0.75),
    alignment=Limit(0.9, 0.97),
    start_disagreement=Limit(0.55, 0.7),
)

WORDS = dict(
    class_growth='{top_class_share:.0%} of the labels that it is sure of are '
    '{name}, {class_growth:.1f} times its due',
    lost_classes='{lost_classes:.0%} of the classes have less than a tenth of '
    'their due',
    rank_loss='its features have lost {rank_loss:.0%} of their effective rank',
    alignment='local and global features are all but the same (mean cosine '
    '{alignment:.3f})',
    start_disagreement='the teacher contradicts the start on '
    '{start_disagreement:.0%} of the images',
)

ADVICE = (
    "model.pseudo_labels=dict(alignment=dict(type='BalancedLabels')), with "
    'the prior of the classes where the images are not balanced, '
    "model.masked_view='off', a lower optim_wrapper.optimizer.lr or a slower "
    'teacher (EMATeacherHook.decay_start) keep a run from it'
)


def spread(
    counts: torch.Tensor, first: torch.Tensor, prior: torch.Tensor
) -> dict[str, float]:
    """How labels spread over the classes, against what they began with.

    Args:
        counts: Labels of each class, or shares, (K,), not all zero.
        first: The same of the start, (K,), not all zero.
        prior: Shares to expect, (K,).

    Returns:
        The values of :class:`Signals` that are about classes, by name.
    """
    shares, first = counts / counts.sum(), first / first.sum()
    growth, top = (shares / torch.maximum(prior, first)).max(0)
    lost = shares < LOST * torch.minimum(prior, first)
    return dict(
        top_class=int(top),
        top_class_share=shares[top].item(),
        class_growth=growth.item(),
        lost_classes=lost.float().mean().item(),
    )


def beyond(
    signals: Signals, limits: Mapping[str, Limit], which: str
) -> list[str]:
    """Name the signals beyond a limit, ``'warn'`` or ``'stop'``."""
    return [
        name
        for name, limit in limits.items()
        if getattr(signals, name) > getattr(limit, which)
    ]


class RunningMean:
    """A mean that forgets, once it has the weight that it remembers.

    Args:
        size: How many values have a mean of their own.
        memory: The weight.
    """

    def __init__(self, size: int, memory: float) -> None:
        self.value = torch.zeros(size)
        self.weight = 0.0
        self.memory = memory

    def add(self, value: torch.Tensor, weight: float) -> None:
        """Add a mean of a weight; none has no say."""
        if weight > 0:
            self.weight = min(self.memory, self.weight + weight)
            share = min(1.0, weight / self.weight)
            self.value = self.value.lerp(value, share)

    @property
    def full(self) -> bool:
        """Whether it has all the weight that it remembers."""
        return self.weight >= self.memory


class RunningSignals:
    """Averages over the last steps, against what they were at first.

    Args:
        prior: Shares to expect of the classes, (K,).
        batch: Images of a step, of all ranks.
    """

    def __init__(self, prior: torch.Tensor, batch: int) -> None:
        self.prior = prior.cpu()
        self.batch = batch
        # of confident labels; of cosine of local and global features,
        # disagreement with the start, effective rank
        self.shares = RunningMean(len(prior), LABELS_PER_CLASS * len(prior))
        self.rest = RunningMean(3, IMAGES_PER_CLASS * len(prior))
        self.first_shares: torch.Tensor | None = None
        self.first_rank: float | None = None
        self._new = torch.zeros(len(prior) + 2, device=prior.device)
        self._steps = 0

    def begin(self, counts: torch.Tensor) -> None:
        """Take how many confident labels of each class the start has, (K,).

        Otherwise the first ones that are seen stand for the start.
        """
        self.first_shares = _shares(counts.cpu().float())

    def add(
        self,
        step: LastStep,
        threshold: float,
        cosine: torch.Tensor | float = 0.0,
        start_labels: torch.Tensor | None = None,
    ) -> None:
        """Add what this rank has seen in a step; no device has to wait.

        Args:
            step: What it was.
            threshold: Confidence above which the teacher is sure.
            cosine: Mean cosine of local and global features.
            start_labels: The start's labels of the images, (B,).
        """
        labels = step.probs.argmax(dim=1)
        sure = confident(step.probs, threshold).to(self._new.dtype)
        self._new.index_add_(0, labels, sure)
        self._new[-2] += cosine
        if start_labels is not None:
            self._new[-1] += (labels != start_labels).float().mean()
        self._steps += 1

    def state(self) -> dict[str, torch.Tensor]:
        """What a resumed run needs, as tensors."""
        state = dict(
            new=self._new.cpu(),
            steps=torch.tensor(self._steps),
            shares=self.shares.value,
            rest=self.rest.value,
            weights=torch.tensor(
                [self.shares.weight, self.rest.weight], dtype=torch.float64
            ),
        )
        if self.first_shares is not None:
            state.update(first_shares=self.first_shares)
        if self.first_rank is not None:
            state.update(first_rank=torch.tensor(self.first_rank))
        return state

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from a saved :meth:`state`."""
        self._new.copy_(state['new'])
        self._steps = int(state['steps'])
        self.shares.value.copy_(state['shares'])
        self.rest.value.copy_(state['rest'])
        self.shares.weight, self.rest.weight = state['weights'].tolist()
        self.first_shares = state.get('first_shares')
        if 'first_rank' in state:
            self.first_rank = float(state['first_rank'])

    def read(self, feats: torch.Tensor) -> Signals:
        """Average what was added since the last time, on all ranks.

        Args:
            feats: This rank's global features of the last step, (B, E).
        """
        all_reduce(self._new, 'mean')
        rank = effective_rank(gather(feats)).reshape(1)
        counts, means = self._new.split([len(self.prior), 2])
        rest = torch.cat([means / self._steps, rank.to(means)]).cpu()
        counts = counts.cpu() * get_world_size()
        self.shares.add(_shares(counts), float(counts.sum()))
        self.rest.add(rest, self.batch * self._steps)
        if self.first_shares is None and self.shares.full:
            self.first_shares = self.shares.value.clone()
        if self.first_rank is None:
            self.first_rank = float(rank)
        self._new.zero_()
        self._steps = 0
        return self.signals()

    def signals(self) -> Signals:
        """Compare the averages with what they were at first.

        Nothing is said of the classes before enough labels were seen to tell
        a class that grows from one that chance has favoured.
        """
        cosine, disagreement, rank = self.rest.value.tolist()
        values = dict(
            alignment=cosine,
            start_disagreement=disagreement,
            rank_loss=1 - rank / max(self.first_rank, 1e-6),
        )
        first = self.first_shares
        if self.shares.full and first is not None and first.sum() > 0:
            values.update(spread(self.shares.value, first, self.prior))
        return Signals(**values)


def _shares(counts: torch.Tensor) -> torch.Tensor:
    return counts / counts.sum().clamp(min=1)


@HOOKS.register_module()
class CollapseHook(Hook):
    """Warns of collapse, and stops a run before it is total.

    A signal that stays beyond its first limit is a warning, beyond its second
    one the end of the run: what training has made of the classifier is worse
    than what it began with, by all experience. Checkpoints that are written
    meanwhile do not push out the last one of before, see
    :class:`SafeCheckpointHook`. The signals are logged as curves. Where the
    start's predictions are known (:class:`StartPassHook`), they are what the
    signals are compared with, and the first steps otherwise.

    Args:
        interval: Steps from one look to the next.
        patience: Looks in a row at which a signal is beyond a limit, before
            it counts.
        stop: Whether to stop; otherwise warnings are all.
        limits: Other limits for some of the signals, as ``name=(warn,
            stop)``; ``None`` for a limit that never is.

    Raises:
        ValueError: If a value is out of its range, or a signal unknown.
        TypeError: If ``stop`` is no bool.
    """

    # after the losses are checked, before anything is saved
    priority = 'ABOVE_NORMAL'
    STATE = 'collapse'

    def __init__(
        self,
        interval: int = 10,
        patience: int = 3,
        stop: bool = True,
        limits: dict | None = None,
    ) -> None:
        check_integer('CollapseHook.interval', interval)
        check_integer('CollapseHook.patience', patience)
        check_type('CollapseHook.stop', stop, bool)
        self.interval = interval
        self.patience = patience
        self.stop = stop
        self.limits = dict(LIMITS)
        for name, pair in (limits or {}).items():
            key = f'CollapseHook.limits.{name}'
            if name not in LIMITS:
                raise ValueError(
                    f'{key}: there is no such signal, but {", ".join(LIMITS)}'
                )
            if pair is None:
                del self.limits[name]
                continue
            check_type(key, pair, list, tuple)
            if len(pair) != 2:
                raise ValueError(f'{key} must be two numbers, got {pair}')
            for value in pair:
                check_number(key, value, '(-inf, inf)')
            self.limits[name] = Limit(*pair)
        #: Looks in a row beyond the first and the second limits, and what
        #: the last one has found.
        self.warned, self.beyond, self.found = 0, 0, ''
        self.watch: RunningSignals | None = None
        self._resumed: dict = {}

    def before_train(self, runner) -> None:
        """A run is sound until it is found to be otherwise."""
        if not runner._resume:
            runner.message_hub.update_info(SOUND, True)

    @property
    def flagged(self) -> bool:
        """Whether the run is beyond the limit of a warning."""
        return self.warned >= self.patience

    def after_train_iter(
        self,
        runner,
        batch_idx: int,
        data_batch=None,
        outputs: dict | None = None,
    ) -> None:
        """Add what the step has seen; look where it is due.

        Raises:
            Collapsed: If a signal has stayed beyond its second limit; with
                what it is, the checkpoint to go back to and what to change.
        """
        model = unwrap(runner.model, MUST)
        if self.watch is None:
            self.watch = self._begin(runner, model)
        step, labels, cosine = model.last_step, None, 0.0
        if step.numbers is not None:
            labels = model.pseudo_labels.start.labels(step.numbers)
        if model.align_loss is not None and model.align_loss.loss_weight:
            distance = outputs['loss_align'] / model.align_loss.loss_weight
            cosine = 1 - distance.detach() / 2
        self.watch.add(step, model.head.threshold, cosine, labels)
        if self.every_n_train_iters(runner, self.interval):
            self._look(runner, self.watch.read(step.feats))

    def _begin(self, runner, model: MUST) -> RunningSignals:
        images = runner.train_dataloader.batch_size * get_world_size()
        watch = RunningSignals(expected_shares(model), images)
        if self._resumed:
            self._go_on(runner, watch)
        elif model.pseudo_labels is not None and len(
            model.pseudo_labels.start
        ):
            start = model.pseudo_labels.start
            sure = (start.probs[:, 0] > model.head.threshold).float()
            counts = torch.zeros_like(watch.prior, device=sure.device)
            watch.begin(counts.index_add(0, start.classes[:, 0].long(), sure))
        return watch

    def _go_on(self, runner, watch: RunningSignals) -> None:
        try:
            self.warned, self.beyond = self._resumed['rows'].tolist()
            watch.load(self._resumed)
        except (KeyError, RuntimeError, ValueError) as error:
            raise ValueError(
                f'{runner._load_from or "the latest checkpoint"} cannot be '
                f'resumed from: its {self.STATE} is damaged or of other '
                'classes. To start from its weights, set load_from instead '
                'of --resume'
            ) from error

    def _look(self, runner, signals: Signals) -> None:
        for name in WORDS:
            value = getattr(signals, name)
            runner.message_hub.update_scalar(f'train/{name}', value)
        warn = beyond(signals, self.limits, 'warn')
        stop = beyond(signals, self.limits, 'stop')
        self.warned = (self.warned + 1) * bool(warn)
        self.beyond = (self.beyond + 1) * bool(stop)
        runner.message_hub.update_info(SOUND, not warn)
        self.found = ', '.join(
            WORDS[name].format(
                name=class_name(runner, signals.top_class), **vars(signals)
            )
            for name in warn
        )
        if self.stop and self.beyond >= self.patience:
            raise Collapsed(
                f'self-training has collapsed by iteration {runner.iter + 1}: '
                f'{self.found}. {_way_back(runner)}. To train again: {ADVICE}',
                self.found,
            )
        if is_due(self.warned, self.patience):
            runner.logger.warning(
                f'self-training may be collapsing: {self.found}. {ADVICE}'
            )

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Save the averages, and how long they have been beyond limits."""
        if self.watch is not None:
            rows = torch.tensor([self.warned, self.beyond])
            checkpoint[self.STATE] = dict(self.watch.state(), rows=rows)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Go on with the averages of the run that is resumed."""
        if runner._resume:
            self._resumed = saved_values(
                runner, checkpoint, self.STATE, torch.Tensor
            )


def expected_shares(model: MUST) -> torch.Tensor:
    """The shares of the classes that a model is told to expect, (K,)."""
    alignment = getattr(model.pseudo_labels, 'alignment', None)
    for part in (alignment, model.head.fairness_loss):
        if getattr(part, 'prior', None) is not None:
            return part.prior
    return uniform_prior(model.head.num_classes).to(
        model.data_preprocessor.device
    )


def class_name(runner, label: int) -> str:
    """Name a class as the training set does, or by its number."""
    metainfo = getattr(runner.train_dataloader.dataset, 'metainfo', {})
    classes = metainfo.get('classes')
    return f"'{classes[label]}'" if classes else f'class {label}'


def _way_back(runner) -> str:
    sound = runner.message_hub.get_info(LAST_SOUND, None)
    if sound is None:
        return 'No sound checkpoint was written: the start is the better model'
    return f'The last sound checkpoint is {sound}'
