"""ResNet-18, 34 and 50 in plain PyTorch, from the published architecture (He et al. 2016, stride on the 3x3), with
torchvision's names: the yardstick for ours. Up to and including the pooling.
"""

from torch import nn

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


class Residual(nn.Module):
    def __init__(self, sizes, kernels, strides):
        """Convolutions from `sizes[i]` to `sizes[i + 1]` channels."""
        super().__init__()
        self.length, stride = len(kernels), max(strides)
        for i, (kernel, step) in enumerate(zip(kernels, strides, strict=True), start=1):
            conv = nn.Conv2d(sizes[i - 1], sizes[i], kernel, stride=step, padding=kernel // 2, bias=False)
            self.add_module(f"conv{i}", conv)
            self.add_module(f"bn{i}", nn.BatchNorm2d(sizes[i]))
        self.downsample = None
        if stride > 1 or sizes[0] != sizes[-1]:
            conv = nn.Conv2d(sizes[0], sizes[-1], 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(sizes[-1]))

    def forward(self, x):
        y = x
        for i in range(1, self.length + 1):
            y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
            y = y.relu() if i < self.length else y
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class TorchResNet(nn.Module):
    def __init__(self, depth, width=64):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = width
        for stage, count in enumerate(BLOCKS[depth]):
            inner, blocks = width << stage, []
            for number in range(count):
                stride = 2 if stage and not number else 1
                if depth == 50:
                    blocks.append(Residual((channels, inner, inner, 4 * inner), (1, 3, 1), (1, stride, 1)))
                else:
                    blocks.append(Residual((channels, inner, inner), (3, 3), (stride, 1)))
                channels = 4 * inner if depth == 50 else inner
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))

    def forward(self, image):
        """Images `[b, 3, h, w]` to features `[b, c]`."""
        x = self.maxpool(self.bn1(self.conv1(image)).relu())
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return x.mean((2, 3))
