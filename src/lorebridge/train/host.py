"""What the host prepares for the device, so that neither waits for the other."""

from __future__ import annotations

import torch


def sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return `tensor` on `device`, without waiting for the work that the device has before it.

    To a GPU it goes from pinned memory: from any other, the copy would wait until the GPU has come to it.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
