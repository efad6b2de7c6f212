"""Small tensors sent to the device without waiting for it."""

import torch


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a tensor of the host to a device, behind the work queued there.

    From memory that is not pinned, the host would wait until a GPU has done
    everything before the copy.
    """
    if device.type == 'cuda':
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
