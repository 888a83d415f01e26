#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# The peer of bench/depthwise.cu: PyTorch's depthwise 3x3 convolutions at the same shapes, channels_last, with
# cudnn.benchmark, with the same keys.

import argparse
import json
import statistics
import sys

import torch
from torch.nn import functional as F

LAYERS = [(64, 2048, 12), (64, 2048, 24), (64, 2048, 36), (128, 560, 1), (128, 512, 1)]  # extent, channels, dilation
REPEATS = 10  # launches between two events


def milliseconds(steps, call):
    """The median of `steps` samples, after three that count for nothing."""
    samples = []
    for _ in range(3 + steps):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(REPEATS):
            call()
        end.record()
        torch.cuda.synchronize()
        samples.append(begin.elapsed_time(end) / REPEATS)
    return statistics.median(samples[3:])


def run(layer, options):
    extent, channels, dilation = layer
    dtype = getattr(torch, options.dtype)

    def tensor(*extents):
        return torch.randn(*extents, device="cuda", dtype=dtype).contiguous(memory_format=torch.channels_last)

    x = tensor(options.batch, channels, extent, extent).requires_grad_()
    weight = tensor(channels, 1, 3, 3).requires_grad_()

    def forward():
        return F.conv2d(x, weight, padding=dilation, dilation=dilation, groups=channels)

    y = forward()
    upstream = torch.randn_like(y)
    with torch.no_grad():
        forward_ms = milliseconds(options.steps, forward)
    backward_ms = milliseconds(
        options.steps, lambda: torch.autograd.grad(y, (x, weight), upstream, retain_graph=True)
    )
    return {
        "program": f"pytorch {torch.__version__}",
        "device": torch.cuda.get_device_name(),
        "dtype": options.dtype,
        "batch": options.batch,
        "extent": extent,
        "channels": channels,
        "dilation": dilation,
        "forward_ms": round(forward_ms, 4),
        "backward_ms": round(backward_ms, 4),
        "bytes": (x.numel() + y.numel() + weight.numel()) * x.element_size(),
    }


def main():
    parser = argparse.ArgumentParser(description="Time PyTorch's depthwise 3x3 convolutions, forward and backward.")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=11, help=f"samples, each of {REPEATS} launches")
    parser.add_argument("--dtype", choices=["float16", "bfloat16", "float32"], default="float16")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("depthwise.py: PyTorch finds no CUDA device.")
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = False
    for layer in LAYERS:
        print(json.dumps(run(layer, options)), flush=True)


if __name__ == "__main__":
    main()
