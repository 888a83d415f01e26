# SPDX-License-Identifier: Apache-2.0
# What the programs of this folder have in common: the modes, the training step, inference, how they are timed, the JSON
# lines, --serve and the arguments. A program describes its network and its data as a Peer and calls main().

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


class Peer:
    """One program: its network and loss, its data and its own arguments."""

    description = ""
    positive = ()  # own arguments that must be at least 1

    def add_arguments(self, parser):
        """Adds own arguments, and sets defaults of the common ones by parser.set_defaults()."""
        raise NotImplementedError

    def complete(self, options):
        """Fills in what depends on other arguments; returns what is wrong with them, or None."""
        return None

    def network(self, options):
        """The network; its state_dict() names the parameters as the original does."""
        raise NotImplementedError

    def with_loss(self, net):
        """A module (images, labels) -> loss, so that torch.compile may fuse the loss with what precedes it."""
        raise NotImplementedError

    def with_prediction(self, net):
        """For --inference: a module (images) -> predictions, with weights under which statistics of 0 and 1 hold."""
        return None

    def random_batch(self, options, generator):
        """Images as float, (N,C,H,W), and labels, both on the CPU."""
        raise NotImplementedError

    def channels_last(self, options, mode):
        """Whether weights and images of a mode are channels_last; else they are contiguous."""
        return True

    def record(self, options, mode):
        """Keys of the result line that say what was measured."""
        return {}


class Runner:
    """One mode, ready to step: network and data, which lie on the device throughout."""

    def __init__(self, peer, name, options):
        self.peer = peer
        self.name = name
        self.mode = MODES[name]
        self.options = options
        self.device = torch.device(options.device)
        self.channels_last = peer.channels_last(options, self.mode)
        self.format = torch.channels_last if self.channels_last else torch.contiguous_format
        self.taken = 0
        torch.manual_seed(options.seed)
        self.net = peer.network(options)
        self._build()
        self.batches = [self._random_batch(i) for i in range(4)]

    def _build(self):
        """Moves the network to the device and makes what a step calls."""
        raise NotImplementedError

    def step(self):
        """One step; returns its result, which the next step may overwrite. Never waits for the device."""
        raise NotImplementedError

    def read(self, result):
        """A number from a step's result; waits."""
        raise NotImplementedError

    def compiled(self, module):
        if self.mode.compile is None:
            return module
        return torch.compile(module, mode=self.mode.compile, fullgraph=True, dynamic=False)

    def _random_batch(self, index):
        generator = torch.Generator().manual_seed(self.options.seed * 1000 + index)
        images, labels = self.peer.random_batch(self.options, generator)
        # With one channel, contiguous(memory_format=...) would leave NCHW strides in place; to() rewrites them.
        images = images.to(memory_format=self.format).to(self.device)
        if self.channels_last and images.stride(1) != 1:
            raise RuntimeError(f"The images are not channels_last: strides {images.stride()}.")
        return images, labels.to(self.device)

    def next_batch(self):
        batch = self.batches[self.taken % len(self.batches)]
        self.taken += 1
        if self.mode.uses_graphs:
            torch.compiler.cudagraph_mark_step_begin()
        return batch

    def prepare(self):
        """Warms up until nothing is compiled, autotuned, captured or newly allocated; returns the first step's number."""
        first = self.read(self.step())
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

    def record(self, times, first):
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
            **self.peer.record(options, self.mode),
            **self.results(first),
        }
        if cuda:
            result["cudnn"] = torch.backends.cudnn.version()
        else:
            result["threads"] = torch.get_num_threads()
        if self.mode.uses_graphs:
            # Not zero means that part of the step ran without a graph, and the row is not what its name says.
            result["cudagraph_skips"] = torch._dynamo.utils.counters["inductor"]["cudagraph_skips"]
        return result

    def results(self, first):
        """Keys of the result line that say what came out; `first` is prepare()'s."""
        raise NotImplementedError


class Trainer(Runner):
    """Takes training steps: optimizer and scaler beside the network."""

    def _build(self):
        self.net = self.net.to(self.device).to(memory_format=self.format)
        self.optimizer = torch.optim.SGD(
            self.net.parameters(), lr=self.options.lr, momentum=0.9, weight_decay=5e-4, fused=True
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.mode.autocast == torch.float16)
        self.loss = self.compiled(self.peer.with_loss(self.net))

    def step(self):
        """One whole training step; returns the loss."""
        images, labels = self.next_batch()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, dtype=self.mode.autocast, enabled=self.mode.autocast is not None):
            loss = self.loss(images, labels)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss

    def read(self, result):
        return result.item()

    def results(self, first):
        scale = {"scale": self.scaler.get_scale()} if self.scaler.is_enabled() else {}
        return {"loss_first": round(first, 4), "loss_last": round(self.step().item(), 4), **scale}


class Predictor(Runner):
    """Runs the network as it is when it is used: weights in the mode's type, running statistics, nothing recorded."""

    def _build(self):
        prediction = self.peer.with_prediction(self.net)
        self.net = self.net.eval().to(self.device, self.mode.autocast or torch.float32, memory_format=self.format)
        self.predict = self.compiled(prediction)

    @torch.inference_mode()
    def step(self):
        """Predictions of one batch of float images."""
        return self.predict(self.next_batch()[0])

    def read(self, result):
        return result.unique().numel()

    def results(self, first):
        return {"classes_used": first}


def release(device):
    """Gives back what the previous mode held, so that one mode's memory is not counted in the next one's."""
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        torch._C._cuda_clearCublasWorkspaces()
        torch.cuda.empty_cache()


def runner_of(peer, name, options):
    return (Predictor if options.inference else Trainer)(peer, name, options)


def measure(peer, names, options):
    """One JSON line for each mode; a mode that fails gets a line with "error". Returns the exit status."""
    status = 0
    for name in names:
        try:
            runner = runner_of(peer, name, options)
            first = runner.prepare()
            result = runner.record(runner.timed(options.steps), first)
        except Exception as error:
            text = f"{type(error).__name__}: {error}".splitlines()[0]
            result = {"peer": "pytorch", "version": torch.__version__, "mode": name, "batch": options.batch}
            result["error"] = text
            status = 1
        runner = None
        print(json.dumps(result), flush=True)
        release(options.device)
    return status


def serve(peer, name, options):
    """Answers "run N" with the median ms per step, "report" with the last run's JSON line, until "quit" or the end."""
    runner = runner_of(peer, name, options)
    first = runner.prepare()
    times = []
    print("ready", flush=True)
    for line in sys.stdin:
        words = line.split()
        if not words:
            continue
        if words == ["quit"]:
            break
        if words == ["report"] and times:
            print(json.dumps(runner.record(times, first)), flush=True)
        elif len(words) == 2 and words[0] == "run" and words[1].isdecimal() and int(words[1]) > 0:
            times = runner.timed(int(words[1]))
            print(f"{statistics.median(times):.4f}", flush=True)
        else:
            print('error: say "run N" with N above 0, "report" after a run, or "quit"', flush=True)
    return 0


def write_state_dict(peer, options):
    """One line for each parameter and each statistic of batch norm: its name, a space, its extents."""
    with torch.device("meta"):
        net = peer.network(options)
    with open(options.state_dict, "w") as file:
        for name, tensor in net.state_dict().items():
            # Batch norm's counter of steps serves averages that none of these networks keeps.
            if not name.endswith("num_batches_tracked"):
                print(name, ",".join(map(str, tensor.shape)), file=file)
    return 0


def parse(peer, arguments):
    parser = argparse.ArgumentParser(description=peer.description, epilog=f"modes: {', '.join(MODES)}")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--modes", help=f"comma-separated; default: {DEFAULT_MODES}")
    parser.add_argument("--serve", metavar="MODE", choices=tuple(MODES), help="prepare one mode, obey stdin")
    parser.add_argument("--state-dict", metavar="FILE", help="write the parameters' names and shapes, measure nothing")
    parser.add_argument("--inference", action="store_true", help="predictions in place of training steps")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=50, help="timed steps; the median is reported")
    parser.add_argument("--warm-up", type=int, default=15, help="untimed steps before them")
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="CPU threads; default: PyTorch's own choice")
    peer.add_arguments(parser)
    options = parser.parse_args(arguments)
    names = [options.serve] if options.serve else (options.modes or DEFAULT_MODES[options.device]).split(",")
    for name in names:
        if name not in MODES:
            parser.error(f"there is no mode '{name}'; the modes are {', '.join(MODES)}")
        if options.device == "cpu" and (MODES[name].autocast == torch.float16 or MODES[name].uses_graphs):
            parser.error(f"mode '{name}' needs CUDA; on the CPU use fp32, bf16, compile-fp32 or compile-bf16")
    if options.inference and type(peer).with_prediction is Peer.with_prediction:
        parser.error("this program has no --inference")
    problem = peer.complete(options)
    if problem is not None:
        parser.error(problem)
    for name in ("batch", *peer.positive, "steps", "warm_up"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    if options.state_dict is None and options.device == "cuda" and not torch.cuda.is_available():
        parser.error("PyTorch sees no CUDA device; use --device cpu, or a PyTorch built for the installed driver")
    return names, options


def main(peer):
    names, options = parse(peer, sys.argv[1:])
    if options.state_dict is not None:
        return write_state_dict(peer, options)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    return serve(peer, names[0], options) if options.serve else measure(peer, names, options)
