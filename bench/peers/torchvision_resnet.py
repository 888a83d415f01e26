#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Holds our ResNet-50 to torchvision's: writes random weights, images and logits in double, float and under autocast to
# safetensors files, and runs bench/resnet_logits on them. Without torchvision, the same network comes from residual.py.

import argparse
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

import torch
from torch import nn

import residual

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
}


class PlainResNet50(nn.Module):
    """torchvision.models.resnet50 with torchvision's names."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = 64
        for number, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
            stage = []
            for block in range(blocks):
                stage.append(residual.Bottleneck(channels, width, 2 if block == 0 and number > 1 else 1))
                channels = 4 * width
            setattr(self, f"layer{number}", nn.Sequential(*stage))
        self.fc = nn.Linear(channels, 1000)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


def network():
    """The network and where it comes from."""
    try:
        import torchvision
    except ImportError:
        return PlainResNet50(), "residual.py"
    return torchvision.models.resnet50(weights=None), f"torchvision {torchvision.__version__}"


def make_nontrivial(net, images, generator):
    """Random affine parameters of every batch norm, and running statistics near those of `images`."""
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]

    def uniform(like, low, high):
        return low + (high - low) * torch.rand(like.shape, generator=generator)

    with torch.no_grad():
        for norm in norms:
            norm.weight.copy_(uniform(norm.weight, 0.5, 1.5))
            norm.bias.copy_(uniform(norm.bias, -0.3, 0.3))
            norm.momentum = 1.0
        net.train()
        net(images)
        for norm in norms:
            deviation = norm.running_var.sqrt()
            norm.running_mean.add_(deviation * uniform(norm.running_mean, -0.2, 0.2))
            norm.running_var.mul_(uniform(norm.running_var, 0.8, 1.25))
    net.eval()


def save_safetensors(path, tensors, metadata):
    """The format by hand: length of the header, a JSON header, the tensors' bytes one behind another."""
    header, data = {"__metadata__": metadata}, []
    offset = 0
    for name, tensor in tensors.items():
        content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        header[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + len(content)],
        }
        offset += len(content)
        data.append(content)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(data))


def logits_of(net, images, device):
    """Logits in double on the CPU, and in float and under autocast on the device."""
    result = {"logits.float64": net.double()(images.double())}
    net.float().to(device)
    images = images.to(device)
    result["logits.float32"] = net(images)
    for dtype in (torch.float16, torch.bfloat16):
        with torch.autocast(torch.device(device).type, dtype=dtype):
            result["logits.autocast." + str(dtype).removeprefix("torch.")] = net(images)
    return result


def main():
    parser = argparse.ArgumentParser(description="Compares our ResNet-50's logits with torchvision's.")
    parser.add_argument("--program", help="bench_resnet_logits or bench_resnet_logits_cuda; else files are only written")
    parser.add_argument("--policy", default="all", help="fp32, amp-fp16, amp-bf16 or all")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="of PyTorch")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--size", type=int, default=224, help="extent of the images")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=pathlib.Path, help="folder of the files; else they are removed in the end")
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    with tempfile.TemporaryDirectory() as temporary, torch.no_grad():
        folder = options.output or pathlib.Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(options.seed)
        generator = torch.Generator().manual_seed(options.seed)
        net, source = network()
        images = torch.randn(options.batch, 3, options.size, options.size, generator=generator)
        make_nontrivial(net, images, generator)
        save_safetensors(folder / "weights.safetensors", net.state_dict(), {"format": "pt"})
        tensors = {"images": images, **logits_of(net, images, options.device)}
        save_safetensors(folder / "logits.safetensors", tensors, {"format": "pt"})
        versions = {"network": source, "torch": torch.__version__, "device": options.device}
        print(json.dumps({"peer": "pytorch", **versions}), flush=True)
        if options.program is None:
            return 0
        command = [options.program, "--policy", options.policy, "--weights", folder / "weights.safetensors"]
        return subprocess.run([*command, "--data", folder / "logits.safetensors"], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
