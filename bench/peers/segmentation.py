#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# The peer of our segmentation models: the training step of mmsegmentation's FCN, PSPNet, DeepLabV3 and DeepLabV3+ on
# ResNet-D8 in plain PyTorch. Networks, names and settings are those of mmsegmentation's models and *_r50-d8
# configurations. README.md in this folder says how to run it and what is fair.

import sys

import torch
from torch import nn
from torch.nn import functional

import harness
from residual import BasicBlock, Bottleneck

BACKBONES = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
}
IGNORED = 255
AUXILIARY_WEIGHT = 0.4


def resize(x, size):
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


class ResNetV1c(nn.Module):
    """The backbone at output stride 8. (N,3,H,W) -> four feature maps at 1/4, 1/8, 1/8 and 1/8 of the extents."""

    def __init__(self, depth):
        super().__init__()
        block, blocks = BACKBONES[depth]
        self.stem = nn.Sequential(
            *self._stem_layer(3, 32, 2), *self._stem_layer(32, 32, 1), *self._stem_layer(32, 64, 1)
        )
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layers = []
        self.channels = []
        previous = 64
        for stage, (count, stride, dilation) in enumerate(zip(blocks, (1, 2, 1, 1), (1, 1, 2, 4))):
            layer = []
            for i in range(count):
                # contract_dilation: a dilated stage begins with half its dilation.
                current = dilation // 2 if i == 0 and dilation > 1 else dilation
                layer.append(block(previous, 64 << stage, stride if i == 0 else 1, current))
                previous = (64 << stage) * block.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layer))
            self.layers.append(f"layer{stage + 1}")
            self.channels.append(previous)

    @staticmethod
    def _stem_layer(channels, width, stride):
        conv = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        return conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.maxpool(self.stem(x))
        features = []
        for name in self.layers:
            x = getattr(self, name)(x)
            features.append(x)
        return features


class ConvModule(nn.Module):
    """A convolution that keeps the extents, batch norm and ReLU, named as MMCV's."""

    def __init__(self, channels, width, kernel, dilation=1, groups=1):
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv2d(
            channels, width, kernel, padding=padding, dilation=dilation, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(width)
        self.activate = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.activate(self.bn(self.conv(x)))


class SeparableConvModule(nn.Module):
    """A depthwise 3x3 and a 1x1 ConvModule: MMCV's DepthwiseSeparableConvModule."""

    def __init__(self, channels, width, dilation=1):
        super().__init__()
        self.depthwise_conv = ConvModule(channels, channels, 3, dilation, groups=channels)
        self.pointwise_conv = ConvModule(channels, width, 1)

    def forward(self, x):
        return self.pointwise_conv(self.depthwise_conv(x))


class Head(nn.Module):
    """What every head ends with: dropout of whole channels and a 1x1 convolution to the classes."""

    def __init__(self, width, classes):
        super().__init__()
        self.conv_seg = nn.Conv2d(width, classes, 1)
        self.dropout = nn.Dropout2d(0.1)

    def classify(self, x):
        return self.conv_seg(self.dropout(x))


class FCNHead(Head):
    """FCN (arXiv:1411.4038); with one convolution and without the concatenation also the auxiliary head."""

    def __init__(self, channels, width, classes, convs=2, concat_input=True):
        super().__init__(width, classes)
        self.convs = nn.Sequential(*(ConvModule(channels if i == 0 else width, width, 3) for i in range(convs)))
        self.conv_cat = ConvModule(channels + width, width, 3) if concat_input else None

    def forward(self, x):
        y = self.convs(x)
        if self.conv_cat is not None:
            y = self.conv_cat(torch.cat([x, y], dim=1))
        return self.classify(y)


class PSPHead(Head):
    """PSPNet (arXiv:1612.01105)."""

    def __init__(self, channels, width, classes, scales=(1, 2, 3, 6)):
        super().__init__(width, classes)
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(scale), ConvModule(channels, width, 1)) for scale in scales
        )
        self.bottleneck = ConvModule(channels + len(scales) * width, width, 3)

    def forward(self, x):
        pooled = [resize(module(x), x.shape[2:]) for module in self.psp_modules]
        return self.classify(self.bottleneck(torch.cat([x, *pooled], dim=1)))


class ASPPHead(Head):
    """DeepLabV3 (arXiv:1706.05587)."""

    dilations = (1, 12, 24, 36)

    def __init__(self, channels, width, classes):
        super().__init__(width, classes)
        self.image_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), ConvModule(channels, width, 1))
        self.aspp_modules = nn.ModuleList(
            ConvModule(channels, width, 1) if dilation == 1 else self.dilated(channels, width, dilation)
            for dilation in self.dilations
        )
        self.bottleneck = ConvModule((1 + len(self.dilations)) * width, width, 3)

    @staticmethod
    def dilated(channels, width, dilation):
        return ConvModule(channels, width, 3, dilation)

    def pyramid(self, x):
        pooled = resize(self.image_pool(x), x.shape[2:])
        return self.bottleneck(torch.cat([pooled, *(module(x) for module in self.aspp_modules)], dim=1))

    def forward(self, x):
        return self.classify(self.pyramid(x))


class SeparableASPPHead(ASPPHead):
    """DeepLabV3+ (arXiv:1802.02611): separable dilated convolutions, and a decoder that takes the first stage's map.

    The convolution after the concatenation of the pyramid is a full 3x3, as in mmsegmentation (43.6 M parameters with
    ResNet-50 and 19 classes).
    """

    dilated = staticmethod(SeparableConvModule)

    def __init__(self, channels, width, classes, c1_channels, c1_width):
        super().__init__(channels, width, classes)
        self.c1_bottleneck = ConvModule(c1_channels, c1_width, 1)
        self.sep_bottleneck = nn.Sequential(
            SeparableConvModule(width + c1_width, width), SeparableConvModule(width, width)
        )

    def forward(self, x, c1):
        c1 = self.c1_bottleneck(c1)
        y = resize(self.pyramid(x), c1.shape[2:])
        return self.classify(self.sep_bottleneck(torch.cat([y, c1], dim=1)))


class Segmentor(nn.Module):
    """Backbone, decode head on the last stage and auxiliary head on the third. images -> (logits, auxiliary logits)."""

    def __init__(self, options):
        super().__init__()
        self.backbone = ResNetV1c(options.depth)
        c1, _, c3, c4 = self.backbone.channels
        width, classes = options.head_width, options.classes
        self.takes_c1 = options.model == "deeplabv3plus"
        if self.takes_c1:
            self.decode_head = SeparableASPPHead(c4, width, classes, c1, options.c1_width)
        else:
            self.decode_head = HEADS[options.model](c4, width, classes)
        self.auxiliary_head = FCNHead(c3, options.auxiliary_width, classes, convs=1, concat_input=False)
        self._initialize()

    def _initialize(self):
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for head in (self.decode_head, self.auxiliary_head):
            nn.init.normal_(head.conv_seg.weight, std=0.01)
            nn.init.zeros_(head.conv_seg.bias)

    def decode(self, c1, c4):
        return self.decode_head(c4, c1) if self.takes_c1 else self.decode_head(c4)

    def forward(self, images):
        c1, _, c3, c4 = self.backbone(images)
        return self.decode(c1, c4), self.auxiliary_head(c3)


HEADS = {"fcn": FCNHead, "pspnet": PSPHead, "deeplabv3": ASPPHead, "deeplabv3plus": SeparableASPPHead}


class Loss(nn.Module):
    """Both heads' logits, resized to the labels, in cross-entropy: the decode head's and 0.4 times the auxiliary's."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images, labels):
        logits, auxiliary_logits = self.net(images)
        return self._of(logits, labels) + AUXILIARY_WEIGHT * self._of(auxiliary_logits, labels)

    @staticmethod
    def _of(logits, labels):
        return functional.cross_entropy(resize(logits, labels.shape[1:]), labels, ignore_index=IGNORED)


class Prediction(nn.Module):
    """Float images (N,3,H,W) -> the class of each pixel, (N,H,W). The auxiliary head does not run."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images):
        c1, _, _, c4 = self.net.backbone(images.to(self.net.decode_head.conv_seg.weight.dtype))
        return resize(self.net.decode(c1, c4), images.shape[2:]).argmax(1)


class SegmentationPeer(harness.Peer):
    description = "Times PyTorch's training step, or inference, of mmsegmentation's models; one JSON line for each mode."
    positive = ("height", "width", "classes", "head_width", "auxiliary_width", "c1_width")

    def add_arguments(self, parser):
        parser.set_defaults(batch=16, steps=20, lr=0.01)
        parser.add_argument("--model", choices=tuple(HEADS), default="deeplabv3plus")
        parser.add_argument("--depth", type=int, choices=tuple(BACKBONES), default=50)
        parser.add_argument("--height", type=int, default=512, help="of the images")
        parser.add_argument("--width", type=int, default=512, help="of the images")
        parser.add_argument("--classes", type=int, default=150)
        parser.add_argument("--head-width", type=int, default=512, help="channels of the decode head")
        parser.add_argument("--auxiliary-width", type=int, help="of the auxiliary head; default: half the head's")
        parser.add_argument("--c1-width", type=int, help="of DeepLabV3+'s c1; default: 3/32 of the head's")
        parser.add_argument(
            "--layout", choices=("nchw", "nhwc"), help="default: nchw without autocast, else nhwc (channels_last)"
        )

    def complete(self, options):
        # mmsegmentation's configurations: 512, 256, 48 for ResNet-50 and 101; 128, 64, 12 for ResNet-18.
        if options.auxiliary_width is None:
            options.auxiliary_width = max(1, options.head_width // 2)
        if options.c1_width is None:
            options.c1_width = max(1, 3 * options.head_width // 32)
        if options.classes > IGNORED:
            return f"--classes must be at most {IGNORED}: label {IGNORED} is the ignored one"
        if options.batch == 1 and options.model != "fcn" and not options.inference:
            return "--batch must be at least 2: the head pools to 1x1, and batch norm needs more than one value there"
        return None

    def network(self, options):
        return Segmentor(options)

    def with_loss(self, net):
        return Loss(net)

    def with_prediction(self, net):
        # As in bench/segmentation/inference.cpp.
        for name, module in net.named_modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            elif name.endswith("bn3"):
                nn.init.constant_(module.weight, 0.25)
        return Prediction(net)

    def random_batch(self, options, generator):
        images = torch.randn((options.batch, 3, options.height, options.width), generator=generator)
        labels = torch.randint(options.classes, (options.batch, options.height, options.width), generator=generator)
        return images, labels

    def channels_last(self, options, mode):
        return mode.autocast is not None if options.layout is None else options.layout == "nhwc"

    def record(self, options, mode):
        names = ("model", "depth", "height", "width", "classes", "head_width", "auxiliary_width", "c1_width")
        layout = "nhwc" if self.channels_last(options, mode) else "nchw"
        return {name: getattr(options, name) for name in names} | {"layout": layout}


if __name__ == "__main__":
    sys.exit(harness.main(SegmentationPeer()))
