#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# The peer of our small ResNet 28x28: the same network and the same training step in PyTorch, so that our step time
# and memory have something honest to stand beside. README.md in this folder says how to run it and what is fair.

import argparse
import gc
import json
import statistics
import sys
import time
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Mode:
    """How one training step runs: `autocast` is the low-precision type, `compile` is torch.compile's mode."""

    autocast: torch.dtype | None
    compile: str | None = None

    @property
    def uses_graphs(self):
        return self.compile == "reduce-overhead"


MODES = {
    "fp32": Mode(None),
    "fp16": Mode(torch.float16),
    "bf16": Mode(torch.bfloat16),
    "compile": Mode(torch.float16, "default"),
    "reduce-overhead": Mode(torch.float16, "reduce-overhead"),
    "compile-fp32": Mode(None, "default"),
    "compile-bf16": Mode(torch.bfloat16, "default"),
    "reduce-overhead-bf16": Mode(torch.bfloat16, "reduce-overhead"),
}
DEFAULT_MODES = {"cuda": "fp32,fp16,bf16,compile,reduce-overhead", "cpu": "fp32,bf16"}


class BasicBlock(nn.Module):
    """conv3x3-BN-ReLU-conv3x3-BN, plus the shortcut, then ReLU. (N,C,H,W) -> (N,width,H/stride,W/stride)."""

    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or channels != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x):
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += shortcut
        return self.relu(y)


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


class Trainer:
    """One mode, ready to step: network, optimizer, scaler and the data, which lie on the device throughout."""

    def __init__(self, name, options):
        self.name = name
        self.mode = MODES[name]
        self.options = options
        self.device = torch.device(options.device)
        self.taken = 0
        torch.manual_seed(options.seed)
        net = SmallResNet(options.width, options.stages, options.blocks, options.channels, options.classes)
        self.net = net.to(self.device).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(
            self.net.parameters(), lr=options.lr, momentum=0.9, weight_decay=5e-4, fused=True
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.mode.autocast == torch.float16)
        self.loss = Loss(self.net)
        if self.mode.compile is not None:
            self.loss = torch.compile(self.loss, mode=self.mode.compile, fullgraph=True, dynamic=False)
        self.batches = [self._random_batch(i) for i in range(4)]

    def _random_batch(self, index):
        options = self.options
        generator = torch.Generator().manual_seed(options.seed * 1000 + index)
        shape = (options.batch, options.channels, options.image, options.image)
        images = torch.randn(shape, generator=generator)
        labels = torch.randint(options.classes, (options.batch,), generator=generator)
        # With one channel, contiguous(memory_format=...) would leave NCHW strides in place; to() rewrites them.
        images = images.to(memory_format=torch.channels_last).to(self.device)
        if images.stride(1) != 1:
            raise RuntimeError(f"The images are not channels_last: strides {images.stride()}.")
        return images, labels.to(self.device)

    def step(self):
        """One whole training step; returns the loss, which the next step may overwrite. Never waits for the device."""
        images, labels = self.batches[self.taken % len(self.batches)]
        self.taken += 1
        if self.mode.uses_graphs:
            torch.compiler.cudagraph_mark_step_begin()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, dtype=self.mode.autocast, enabled=self.mode.autocast is not None):
            loss = self.loss(images, labels)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss

    def prepare(self):
        """Warms up until nothing is compiled, autotuned, captured or newly allocated; returns the first step's loss."""
        first = self.step().item()
        for _ in range(self.options.warm_up - 1):
            self.step()
        if self.device.type == "cuda":
            # Autotuning leaves blocks in the cache that no ordinary step needs, and they are not to count as reserved.
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            for _ in range(3):
                self.step()
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        return first

    def timed(self, steps):
        """Milliseconds of each of `steps` steps, run back to back: the device's clock on CUDA, else the wall's."""
        if self.device.type == "cuda":
            events = [torch.cuda.Event(enable_timing=True) for _ in range(steps + 1)]
            torch.cuda.synchronize()
            events[0].record()
            for i in range(steps):
                self.step()
                events[i + 1].record()
            torch.cuda.synchronize()
            return [events[i].elapsed_time(events[i + 1]) for i in range(steps)]
        times = []
        for _ in range(steps):
            start = time.perf_counter()
            self.step()
            times.append((time.perf_counter() - start) * 1e3)
        return times

    def record(self, times, first_loss):
        """The result line. On CUDA the peaks are those since prepare() returned."""
        options = self.options
        cuda = self.device.type == "cuda"
        parameters = sum(p.numel() for p in self.net.parameters())
        allocated = torch.cuda.max_memory_allocated() if cuda else None
        reserved = torch.cuda.max_memory_reserved() if cuda else None
        result = {
            "peer": "pytorch",
            "version": torch.__version__,
            "device": torch.cuda.get_device_name() if cuda else f"cpu, {torch.backends.cpu.get_cpu_capability()}",
            "mode": self.name,
            "batch": options.batch,
            "ms": round(statistics.median(times), 4),
            "ms_min": round(min(times), 4),
            "ms_mean": round(statistics.fmean(times), 4),
            "steps": len(times),
            "allocated_bytes": allocated,
            "reserved_bytes": reserved,
            "parameters": parameters,
            "convolutions": sum(isinstance(m, nn.Conv2d) for m in self.net.modules()),
            "width": options.width,
            "stages": options.stages,
            "blocks": options.blocks,
            "image": options.image,
            "loss_first": round(first_loss, 4),
            "loss_last": round(self.step().item(), 4),
        }
        if cuda:
            result["cudnn"] = torch.backends.cudnn.version()
        else:
            result["threads"] = torch.get_num_threads()
        if self.scaler.is_enabled():
            result["scale"] = self.scaler.get_scale()
        if self.mode.uses_graphs:
            # Not zero means that part of the step ran without a graph, and the row is not what its name says.
            result["cudagraph_skips"] = torch._dynamo.utils.counters["inductor"]["cudagraph_skips"]
        return result


def release(device):
    """Gives back what the previous mode held, so that one mode's memory is not counted in the next one's."""
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        torch._C._cuda_clearCublasWorkspaces()
        torch.cuda.empty_cache()


def measure(names, options):
    """One JSON line for each mode; a mode that fails gets a line with "error". Returns the exit status."""
    status = 0
    for name in names:
        try:
            trainer = Trainer(name, options)
            first_loss = trainer.prepare()
            result = trainer.record(trainer.timed(options.steps), first_loss)
        except Exception as error:
            text = f"{type(error).__name__}: {error}".splitlines()[0]
            result = {"peer": "pytorch", "version": torch.__version__, "mode": name, "batch": options.batch}
            result["error"] = text
            status = 1
        trainer = None
        print(json.dumps(result), flush=True)
        release(options.device)
    return status


def serve(name, options):
    """Answers "run N" with the median ms per step, "report" with the last run's JSON line, until "quit" or the end."""
    trainer = Trainer(name, options)
    first_loss = trainer.prepare()
    times = []
    print("ready", flush=True)
    for line in sys.stdin:
        words = line.split()
        if not words:
            continue
        if words == ["quit"]:
            break
        if words == ["report"] and times:
            print(json.dumps(trainer.record(times, first_loss)), flush=True)
        elif len(words) == 2 and words[0] == "run" and words[1].isdecimal() and int(words[1]) > 0:
            times = trainer.timed(int(words[1]))
            print(f"{statistics.median(times):.4f}", flush=True)
        else:
            print('error: say "run N" with N above 0, "report" after a run, or "quit"', flush=True)
    return 0


def parse(arguments):
    parser = argparse.ArgumentParser(
        description="Times PyTorch's training step of the small ResNet 28x28; one JSON line for each mode.",
        epilog=f"modes: {', '.join(MODES)}",
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--modes", help=f"comma-separated; default: {DEFAULT_MODES}")
    parser.add_argument("--serve", metavar="MODE", choices=tuple(MODES), help="prepare one mode, obey stdin")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--stages", type=int, default=1)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--image", type=int, default=28, help="height and width of the images")
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--steps", type=int, default=50, help="timed steps; the median is reported")
    parser.add_argument("--warm-up", type=int, default=15, help="untimed steps before them")
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="CPU threads; default: PyTorch's own choice")
    options = parser.parse_args(arguments)
    names = [options.serve] if options.serve else (options.modes or DEFAULT_MODES[options.device]).split(",")
    for name in names:
        if name not in MODES:
            parser.error(f"there is no mode '{name}'; the modes are {', '.join(MODES)}")
        if options.device == "cpu" and (MODES[name].autocast == torch.float16 or MODES[name].uses_graphs):
            parser.error(f"mode '{name}' needs CUDA; on the CPU use fp32, bf16, compile-fp32 or compile-bf16")
    for name in ("batch", "width", "stages", "blocks", "image", "channels", "classes", "steps", "warm_up"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("PyTorch sees no CUDA device; use --device cpu, or a PyTorch built for the installed driver")
    return names, options


def main():
    names, options = parse(sys.argv[1:])
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    return serve(names[0], options) if options.serve else measure(names, options)


if __name__ == "__main__":
    sys.exit(main())
