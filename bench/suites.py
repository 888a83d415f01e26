# SPDX-License-Identifier: Apache-2.0
# What compare.py can compare: for each suite its cases, and the commands of our programs and of PyTorch's.

from dataclasses import dataclass
from pathlib import Path

PEERS = Path(__file__).resolve().parent / "peers"
HEADS = ("fcn", "pspnet", "deeplabv3", "deeplabv3plus")
NETWORKS = ",".join(f"r{depth}/{head}" for depth in (50, 101) for head in HEADS)


@dataclass(frozen=True)
class Case:
    """One piece of work that every program of a suite does. `key` is what tells its rows from others."""

    name: str
    key: dict
    both: list  # arguments of ours and of the peer
    ours: list
    peer: list


class TrainingStep:
    """The small ResNet's step; a case is a batch."""

    script = "small_resnet.py"
    cases = {"cuda": "256,2048", "cpu": "64"}
    ours = {"cuda": "fp32,amp-fp16,amp-fp16/512,amp-bf16,amp-fp16/eager", "cpu": "fp32,amp-bf16"}
    peers = {"cuda": "fp32,fp16,bf16,compile,reduce-overhead,reduce-overhead-bf16", "cpu": "fp32,bf16"}
    rounds, steps = 9, 50
    same = ("batch", "parameters", "convolutions")

    def case(self, name, device):
        return Case(name, {"batch": int(name)}, ["--batch", name], [], ["--width", 32, "--stages", 1])


class Segmentation:
    """The step of FCN, PSPNet, DeepLabV3 or DeepLabV3+; a case is a backbone and a head, "r50/fcn"."""

    script = "segmentation.py"
    cases = {"cuda": NETWORKS, "cpu": NETWORKS}
    ours = {"cuda": "fp32,amp-fp16,amp-fp16-recompute,amp-fp16-expansions", "cpu": "fp32,amp-bf16"}
    peers = {"cuda": "fp32,fp16,compile,reduce-overhead", "cpu": "fp32,bf16"}
    rounds, steps = 5, 10
    # Batch, height, width and classes. The CPU's are for trials of the programs.
    extents = {
        ("cuda", 50): (16, 512, 512, 150),
        ("cuda", 101): (2, 512, 1024, 19),
        ("cpu", 50): (2, 64, 64, 150),
        ("cpu", 101): (2, 64, 128, 19),
    }
    same = ("batch", "model", "depth", "height", "width", "classes", "parameters", "convolutions")
    own = ["--rows", 1]
    peers_own = []

    def case(self, name, device):
        backbone, _, head = name.partition("/")
        depth = int(backbone[1:]) if backbone in ("r50", "r101") else 0
        if head not in HEADS or depth == 0:
            raise ValueError(f'there is no case "{name}". Use r50/ or r101/ and one of {", ".join(HEADS)}.')
        batch, height, width, classes = self.extents[device, depth]
        both = ["--model", head, "--depth", depth, "--batch", batch, "--height", height, "--width", width]
        return Case(name, {"case": name}, both, self.own, ["--classes", classes, *self.peers_own])


class SegmentationInference(Segmentation):
    """The same networks evaluated: classes at the images' resolution."""

    rounds, steps = 5, 20
    ours = {"cuda": "fp32,amp-fp16", "cpu": "fp32,amp-bf16"}
    # Folded batch norms leave biases behind, so our parameters are others.
    same = ("batch", "model", "depth", "height", "width", "classes", "convolutions")
    own = []
    peers_own = ["--inference"]


SUITES = {
    "training_step": TrainingStep(),
    "segmentation": Segmentation(),
    "segmentation_inference": SegmentationInference(),
}


def common(options, case):
    return [*case.both, *(["--warm-up", options.warm_up] if options.warm_up else [])]


def our_command(options, case, mode):
    """`mode` is a policy, with /eager (no graph) or a static scale behind it: amp-fp16/512."""
    policy, _, variant = mode.partition("/")
    command = [options.program, "--policy", policy, *common(options, case), *case.ours, "--serve", "1"]
    if options.commit:
        command += ["--commit", options.commit]
    if variant == "eager":
        command += ["--graph", "0"]
    elif variant:
        command += ["--scale", variant]
    return [str(word) for word in command]


def peer_command(options, case, mode):
    script = PEERS / SUITES[options.suite].script
    command = [options.python, script, "--device", options.device, "--serve", mode]
    command += [*common(options, case), *case.peer]
    if options.threads:
        command += ["--threads", options.threads]
    return [str(word) for word in command]
