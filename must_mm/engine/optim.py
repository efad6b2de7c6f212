"""Groups of the optimizers, and the schedule of MAE-CT."""

from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler
from mmpretrain.engine import LearningRateDecayOptimWrapperConstructor
from mmpretrain.registry import OPTIM_WRAPPER_CONSTRUCTORS, PARAM_SCHEDULERS
from torch import nn

from ..utils.schedules import warmup_cosine
from ..utils.validation import check_integer, check_number


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayConstructor(LearningRateDecayOptimWrapperConstructor):
    """MMPretrain's layer decay, with few groups.

    Its base makes a group of every parameter, and an optimizer, fused or not,
    goes through its groups one by one. Here parameters of equal settings
    share one: 28 groups instead of 158 for a ViT-B/16.
    """

    def add_params(
        self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs
    ) -> None:
        """Add the groups of a module, and join those that are alike."""
        super().add_params(params, module, prefix=prefix, **kwargs)
        if not prefix:  # the whole model, not a submodule on the way down
            params[:] = join_groups(params)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class FewGroupsConstructor(DefaultOptimWrapperConstructor):
    """MMEngine's constructor, with few groups.

    For backbones that know no layers. As its base, but parameters of equal
    settings share a group: 2 instead of 161 for a ResNet-50.
    """

    def add_params(
        self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs
    ) -> None:
        """Add the groups of a module, and join those that are alike."""
        super().add_params(params, module, prefix=prefix, **kwargs)
        if not prefix:
            params[:] = join_groups(params)


def join_groups(groups: list[dict]) -> list[dict]:
    """Join the groups of single parameters that differ in nothing else.

    Args:
        groups: As MMEngine's and MMPretrain's constructors make them; the
            latter's each have one ``param_name``.

    Returns:
        Groups in the order of their first parameters, with ``param_names``
        if they had names.
    """
    joined: list[tuple[dict, dict]] = []
    for group in groups:
        settings = {
            key: value
            for key, value in group.items()
            if key not in ('params', 'param_name', 'layer_id')
        }
        whole = next((w for known, w in joined if known == settings), None)
        if whole is None:
            whole = dict(settings, params=[])
            joined.append((settings, whole))
        whole['params'] += group['params']
        if 'param_name' in group:
            whole.setdefault('param_names', []).append(group['param_name'])
    return [whole for _, whole in joined]


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class HeadAndLayerDecayConstructor(LearningRateDecayOptimWrapperConstructor):
    """MMPretrain's layer decay, with a rate and decay for the head alone.

    Beside the keys of its base, ``paramwise_cfg`` takes ``head_lr`` and
    ``head_weight_decay``, the values for parameters below ``head.``; those of
    the optimizer hold where a key is missing. What does not decay in the
    encoder (``flat_decay_mult=0`` and the like) does not decay in the head.
    """

    def add_params(
        self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs
    ) -> None:
        """Add the groups of a module, those of its head with own settings."""
        super().add_params(params, module, prefix=prefix, **kwargs)
        if prefix:  # a submodule, on the way down
            return
        for key in ('head_lr', 'head_weight_decay'):
            if key in self.paramwise_cfg:
                check_number(
                    f'optim_wrapper.paramwise_cfg.{key}',
                    self.paramwise_cfg[key],
                    '[0, inf)',
                )
        own = {
            key: self.paramwise_cfg[f'head_{key}']
            for key in ('lr', 'weight_decay')
            if f'head_{key}' in self.paramwise_cfg
        }
        for group in params:
            if group['param_name'].startswith('head.'):
                decays = group.get('weight_decay', 0) > 0
                group.update(own if decays else own | {'weight_decay': 0.0})
        params[:] = join_groups(params)


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(LRSchedulerMixin, _ParamScheduler):
    """Linear warm-up, then a cosine towards zero, in closed form.

    With ``N`` steps and ``W = int(warmup_ratio * N)``, step ``s`` trains at
    ``lr * (s + 1) / (W + 1)`` for ``s < W`` and at
    ``lr / 2 * (1 + cos(pi * (s - W) / (N - W)))`` from there on.

    Args:
        optimizer: Wrapped optimizer; each group keeps its own ``lr``.
        warmup_ratio: Share of the steps that warm up, in [0, 1).
        begin: First step.
        end: Step after the last one.
        by_epoch: Whether steps are epochs; ``convert_to_iter_based=True`` in
            the config turns them into iterations.

    Raises:
        ValueError: If a value is out of its range, or ``end`` is not given.
    """

    def __init__(
        self,
        optimizer: OptimWrapper,
        warmup_ratio: float = 0.2,
        begin: int = 0,
        end: int = INF,
        **kwargs,
    ) -> None:
        check_number('param_scheduler.warmup_ratio', warmup_ratio, '[0, 1)')
        if end == INF:
            raise ValueError(
                'param_scheduler.end is needed, the length of the training'
            )
        check_integer('param_scheduler.begin', begin, at_least=0)
        check_integer('param_scheduler.end', end, at_least=begin + 1)
        self.total = end - begin
        self.warmup = int(warmup_ratio * self.total)
        super().__init__(optimizer, begin=begin, end=end, **kwargs)

    @classmethod
    def build_iter_from_epoch(
        cls,
        *args,
        begin: int = 0,
        end: int = INF,
        by_epoch: bool = True,
        epoch_length: int | None = None,
        **kwargs,
    ) -> 'WarmupCosineLR':
        """Build a schedule per iteration from one in epochs."""
        assert by_epoch and epoch_length
        if end != INF:
            end *= epoch_length
        return cls(
            *args,
            begin=begin * epoch_length,
            end=end,
            by_epoch=False,
            **kwargs,
        )

    def _get_value(self) -> list[float]:
        factor = warmup_cosine(self.last_step, self.warmup, self.total)
        return [base * factor for base in self.base_values]
