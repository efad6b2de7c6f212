"""Read scalars late: no iteration waits for the device to finish."""

import math

import torch
from mmengine.hooks import LoggerHook, RuntimeInfoHook
from mmpretrain.registry import HOOKS

#: Means over what not every batch has: NaN says that there is none.
MAY_BE_MISSING = {'pseudo_label_acc'}


class LateScalars:
    """Scalars of several iterations, left on their device until read."""

    def __init__(self) -> None:
        self._names: list[list[str]] = []
        self._values: list[torch.Tensor] = []

    def __len__(self) -> int:
        return len(self._names)

    def add(self, values: dict) -> None:
        """Keep the scalars of an iteration, tensors or numbers."""
        tensors = [torch.as_tensor(v).detach() for v in values.values()]
        host = torch.device('cpu')
        device = next((t.device for t in tensors if not t.is_cpu), host)
        self._names.append(list(values))
        self._values += [
            tensor.float().reshape(1).to(device, non_blocking=True)
            for tensor in tensors
        ]

    def read(self) -> list[dict[str, float]]:
        """Bring all to the host, in one transfer, and forget them.

        Returns:
            The scalars of each iteration, oldest first.
        """
        values = iter(torch.cat(self._values).tolist() if self._values else ())
        found = [
            {name: next(values) for name in names} for names in self._names
        ]
        self._names.clear()
        self._values.clear()
        return found


@HOOKS.register_module()
class LateRuntimeInfoHook(RuntimeInfoHook):
    """MMEngine's hook that hands losses to the log, when the log wants them.

    MMEngine reads every scalar of every iteration, and a GPU waits for each.
    Here they are read together where :class:`LoggerHook` writes, and before a
    checkpoint is saved; log and checkpoint are the same, but for what a batch
    says nothing of (:data:`MAY_BE_MISSING`), which is left out.
    """

    def __init__(self) -> None:
        # a run may be saved before it trains
        self._late = LateScalars()

    def before_train(self, runner) -> None:
        """Take over the interval of the log."""
        super().before_train(runner)
        self._late.read()  # of an earlier training of this runner
        self._interval = min(
            (h.interval for h in runner.hooks if isinstance(h, LoggerHook)),
            default=1,
        )

    def after_train_iter(
        self,
        runner,
        batch_idx: int,
        data_batch=None,
        outputs: dict | None = None,
    ) -> None:
        """Keep this iteration's scalars, read those that are wanted."""
        self._late.add(outputs or {})
        if (
            len(self._late) >= self._interval
            or self.every_n_inner_iters(batch_idx, self._interval)
            or self.every_n_train_iters(runner, self._interval)
            or self.end_of_epoch(runner.train_dataloader, batch_idx)
            or self.is_last_train_iter(runner)
        ):
            self._read(runner)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Save the scalars of all iterations so far."""
        if len(self._late):
            self._read(runner)
            checkpoint['message_hub'] = runner.message_hub.state_dict()

    def _read(self, runner) -> None:
        for scalars in self._late.read():
            for name, value in scalars.items():
                if name in MAY_BE_MISSING and math.isnan(value):
                    continue
                runner.message_hub.update_scalar(f'train/{name}', value)
