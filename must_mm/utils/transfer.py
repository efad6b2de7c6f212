"""Small tensors sent to the device without waiting for it."""

import torch


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor to a device, behind the work that is queued there.

    From the host's memory, unless it is pinned, the host would wait until a
    GPU has done everything before the copy.
    """
    if device.type == 'cuda' and tensor.device.type == 'cpu':
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
