"""The network in plain PyTorch for comparison: the ResNet-50 of `train_step_torch` with the same weights, for
prediction. It ends with the 21 x 3 numbers of the head, without refiner and lifting, so it computes slightly less."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import train_step_torch

from bmc_jax.models import pose_network, pretrained
from bmc_jax.training.step import TrainState

#: Index in a `Bottleneck` of torchvision's module names.
PLACES = {"conv1": 0, "bn1": 1, "conv2": 3, "bn2": 4, "conv3": 6, "bn3": 7}
#: Number of modules before the first block.
STEM = 4


def predictor(state: TrainState, images: np.ndarray, *, dtype: str, compiled: bool) -> tuple[Callable, Callable]:
    """Returns a function from bytes `[b, h, w, 3]` to the numbers of the head `[b, 63]`, and one that waits for it."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    model = train_step_torch.network()
    model.load_state_dict(named(state))
    model = model.to(device, memory_format=torch.channels_last).eval()
    pixels = torch.tensor(images, device=device).permute(0, 3, 1, 2)  # channels last in memory
    mean, std = (
        torch.tensor(x, device=device)[:, None, None] for x in (pose_network.IMAGENET_MEAN, pose_network.IMAGENET_STD)
    )

    def predict() -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
            return model((pixels.float() / 255 - mean) / std)

    inner = torch.compile(predict) if compiled else predict
    return torch.inference_mode()(inner), torch.cuda.synchronize if device.type == "cuda" else lambda: None


def named(state: TrainState) -> dict[str, torch.Tensor]:
    """Returns the weights under the names of `train_step_torch.network`."""
    tensors: dict[str, Any] = {}
    for name, tensor in pretrained.torch_named(state.params["backbone"], state.batch_stats["backbone"]).items():
        block = re.fullmatch(r"layer(\d)\.(\d+)\.(downsample|conv\d|bn\d)\.(.*)", name)
        if block:
            stage, number, module, leaf = block.groups()
            before = sum(count for _, count in train_step_torch.STAGES[: int(stage) - 1])
            inside = f"shortcut.{leaf}" if module == "downsample" else f"body.{PLACES[module]}.{leaf}"
            name = f"{STEM + before + int(number)}.{inside}"
        else:
            module, leaf = name.split(".")
            name = f"{PLACES[module]}.{leaf}"
        tensors[name] = tensor
    head, last = state.params["head"], STEM + sum(count for _, count in train_step_torch.STAGES) + 2
    tensors |= {f"{last}.weight": np.transpose(head["kernel"]), f"{last}.bias": head["bias"]}
    return {name: torch.tensor(np.asarray(tensor)) for name, tensor in tensors.items()}
