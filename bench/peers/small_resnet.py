#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# The peer of our small ResNet 28x28: the same network and the same training step in PyTorch, so that our step time
# and memory have something honest to stand beside. README.md in this folder says how to run it and what is fair.

import sys

import torch
from torch import nn

import harness
from residual import BasicBlock


class SmallResNet(nn.Module):
    """Stem, `stages` stages of `blocks` basic blocks at widths w, 2w, 4w, ..., global average pool, linear."""

    def __init__(self, width, stages, blocks, channels, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.layers = []
        previous = width
        for stage in range(stages):
            current = width << stage
            layer = nn.Sequential(
                *(
                    BasicBlock(previous if i == 0 else current, current, 2 if i == 0 and stage > 0 else 1)
                    for i in range(blocks)
                )
            )
            # The names layer1, layer2, ... are those of our own network and of torchvision's ResNet.
            self.add_module(f"layer{stage + 1}", layer)
            self.layers.append(f"layer{stage + 1}")
            previous = current
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(previous, classes)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        for name in self.layers:
            x = getattr(self, name)(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))


class Loss(nn.Module):
    """Network and cross-entropy in one module, so that torch.compile may fuse the loss with what precedes it."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images, labels):
        return nn.functional.cross_entropy(self.net(images), labels)


class SmallResNetPeer(harness.Peer):
    description = "Times PyTorch's training step of the small ResNet 28x28; one JSON line for each mode."
    positive = ("width", "stages", "blocks", "image", "channels", "classes")

    def add_arguments(self, parser):
        parser.add_argument("--width", type=int, default=32)
        parser.add_argument("--stages", type=int, default=1)
        parser.add_argument("--blocks", type=int, default=2)
        parser.add_argument("--image", type=int, default=28, help="height and width of the images")
        parser.add_argument("--channels", type=int, default=1)
        parser.add_argument("--classes", type=int, default=10)

    def network(self, options):
        return SmallResNet(options.width, options.stages, options.blocks, options.channels, options.classes)

    def with_loss(self, net):
        return Loss(net)

    def random_batch(self, options, generator):
        shape = (options.batch, options.channels, options.image, options.image)
        images = torch.randn(shape, generator=generator)
        labels = torch.randint(options.classes, (options.batch,), generator=generator)
        return images, labels

    def record(self, options, mode):
        return {name: getattr(options, name) for name in ("width", "stages", "blocks", "image")}


if __name__ == "__main__":
    sys.exit(harness.main(SmallResNetPeer()))
