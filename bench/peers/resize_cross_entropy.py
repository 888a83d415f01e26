#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# The peer of bench/resize_cross_entropy.cu: F.cross_entropy(F.interpolate(logits)) under autocast, eager and compiled,
# on the same shapes and labels, with the same keys.

import argparse
import json
import statistics
import sys

import torch
from torch.nn import functional as F

IGNORED = 255
SCALE = 65536.0  # of the loss: a mean over millions of labels is below float16's range


def label_map(options, device):
    """Regions of one class and a border that is ignored, as in the C++ program."""
    y, x = torch.meshgrid(torch.arange(options.to), torch.arange(options.to), indexing="ij")
    n = torch.arange(options.batch).view(-1, 1, 1)
    labels = (x // 37 + 7 * (y // 29) + n) % options.classes
    return torch.where(x < 4, IGNORED, labels).long().to(device)


def loss_of(logits, labels, dtype):
    with torch.autocast(logits.device.type, dtype=dtype):
        resized = F.interpolate(logits, labels.shape[1:], mode="bilinear", align_corners=False)
        return F.cross_entropy(resized, labels, ignore_index=IGNORED)


def reference(logits, labels):
    """The loss in double, image by image, and the gradient of the first image."""
    count = (labels != IGNORED).sum().double()
    total, gradient = 0.0, None
    for n in range(logits.shape[0]):
        x = logits[n : n + 1].detach().double().requires_grad_(n == 0)
        resized = F.interpolate(x, labels.shape[1:], mode="bilinear", align_corners=False)
        part = F.cross_entropy(resized, labels[n : n + 1], ignore_index=IGNORED, reduction="sum") / count
        if n == 0:
            (part * SCALE).backward()
            gradient = x.grad
        total += part.item()
    return total, gradient


def run(mode, options, device):
    dtype = getattr(torch, options.dtype)
    torch.manual_seed(1)
    logits = 2 * torch.randn(options.batch, options.classes, options.from_, options.from_, device=device)
    logits = logits.to(dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
    labels = label_map(options, device)
    function = torch.compile(loss_of) if mode == "compile" else loss_of
    times = {"forward_ms": [], "backward_ms": [], "ms": []}
    for step in range(options.warm_up + options.steps):
        if step == options.warm_up:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        logits.grad = None
        begin, middle, end = (torch.cuda.Event(enable_timing=True) for _ in range(3))
        begin.record()
        loss = function(logits, labels, dtype)
        middle.record()
        (loss * SCALE).backward()
        end.record()
        torch.cuda.synchronize()
        if step >= options.warm_up:
            times["forward_ms"].append(begin.elapsed_time(middle))
            times["backward_ms"].append(middle.elapsed_time(end))
            times["ms"].append(begin.elapsed_time(end))
    line = {
        "program": f"pytorch {torch.__version__}",
        "mode": mode,
        "device": torch.cuda.get_device_name(),
        "dtype": options.dtype,
        "batch": options.batch,
        "classes": options.classes,
        "from": options.from_,
        "to": options.to,
        "steps": options.steps,
        **{key: round(statistics.median(values), 4) for key, values in times.items()},
        "allocated_bytes": torch.cuda.max_memory_allocated(),
        "loss": round(loss.item(), 6),
    }
    if options.check:
        expected, gradient = reference(logits, labels)
        error = (logits.grad[:1].double() - gradient).abs().max() / gradient.abs().max()
        line["loss_error"] = round(abs(loss.item() - expected) / expected, 9)
        line["gradient_error"] = round(error.item(), 9)
    return line


def main():
    parser = argparse.ArgumentParser(description="Time interpolate and cross_entropy in PyTorch, forward and backward.")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--from", type=int, default=128, dest="from_", help="height and width of the logits")
    parser.add_argument("--to", type=int, default=512, help="height and width of the labels")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warm-up", type=int, default=3)
    parser.add_argument("--dtype", choices=["float16", "bfloat16"], default="float16")
    parser.add_argument("--check", type=int, default=1, help="0: no comparison with double")
    parser.add_argument("--modes", default="eager,compile")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("resize_cross_entropy.py: PyTorch finds no CUDA device.")
    failed = False
    for mode in options.modes.split(","):
        try:
            print(json.dumps(run(mode, options, "cuda")), flush=True)
        except Exception as error:  # the other mode still runs
            print(json.dumps({"program": "pytorch", "mode": mode, "error": str(error)}), flush=True)
            failed = True
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
