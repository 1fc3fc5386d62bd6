"""The network's training step in plain PyTorch for comparison: ResNet-50 with a head for 21 x 3 numbers, the mean
absolute error, and SGD. It has no refiner, geometry or biomechanical losses, so it computes slightly less."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
EXPANSION = 4


class Bottleneck(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        after = width * EXPANSION
        self.body = nn.Sequential(
            nn.Conv2d(before, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, after, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        self.shortcut = shortcut if stride != 1 or before != after else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def network() -> nn.Module:
    blocks, channels = [], 64
    for stage, (width, count) in enumerate(STAGES):
        for block in range(count):
            blocks.append(Bottleneck(channels, width, 2 if stage > 0 and block == 0 else 1))
            channels = width * EXPANSION
    stem = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 63)
    return nn.Sequential(*stem, nn.MaxPool2d(3, 2, padding=1), *blocks, *head)


def train_step(images: np.ndarray, labels: np.ndarray, *, dtype: str, compiled: bool) -> tuple[Callable, Callable]:
    """Returns a function that takes a step on bytes `[b, h, w, 3]` and labels `[b, 63]`, and one that waits for it."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # The default of JAX.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    model = network().to(device, memory_format=torch.channels_last).train()
    rule = torch.optim.SGD(model.parameters(), lr=5e-3, momentum=0.9, nesterov=True, weight_decay=1e-4)
    pixels = torch.tensor(images, device=device).permute(0, 3, 1, 2)  # channels last in memory
    wanted = torch.tensor(labels, device=device)

    def loss() -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
            found = model(pixels.float() / 127.5 - 1)
        return (found.float() - wanted).abs().mean()

    value = torch.compile(loss) if compiled else loss

    def step() -> None:
        rule.zero_grad(set_to_none=True)
        value().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        rule.step()

    return step, torch.cuda.synchronize if device.type == "cuda" else lambda: None
