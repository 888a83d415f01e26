#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# mIoU of the example `segment` in fp32 and in mixed precision over fixed seeds, trained from scratch.
#   cmake --preset cuda -B build/segment -DMIXPREC_BUILD_TESTS=OFF -DMIXPREC_BUILD_BENCH=OFF -DMIXPREC_SEGMENT_WIDTH=128 \
#       "-DMIXPREC_SEGMENT_MODELS=fcn;pspnet;deeplabv3;deeplabv3plus" "-DMIXPREC_SEGMENT_POLICIES=fp32;amp-fp16;amp-bf16"
#   cmake --build build/segment --target segment
#   segmentation_accuracy.py --program build/segment/examples/segment/segment --data DIR --classes NAME,... --ignore N \
#       --device cuda --jobs 5
# Every finished run is added to the results file at once, and runs that are in it are not made again: the measurement
# may be made in parts (--models, --modes, --seeds, --minutes). Criterion, fixed before the first run: where fp32's mean
# mIoU is at least 0.45, |mean mixed - mean fp32| is at most max(1 point, 2 pooled SD sqrt(2/3)). The exit code is 1
# where a finished comparison fails it.

import argparse
import concurrent.futures
import datetime
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from compare import commit_of_checkout

HERE = Path(__file__).resolve().parent
# What is planned: three seeds where the criterion is judged, one where the other two networks are only shown.
SEEDS = {"deeplabv3plus": (0, 1, 2), "pspnet": (0, 1, 2), "fcn": (0,), "deeplabv3": (0,)}
MODES = ("fp32", "amp-fp16/dynamic", "amp-fp16/512", "amp-bf16")
LEAST_MIOU = 0.45
PASSED_ON = ("classes", "ignore", "epochs", "batch_size", "lr", "power", "warmup", "weight_decay", "crop",
             "eval", "workers", "limit")


def train(options, model, mode, seed):
    """One run, as the results file lists it."""
    policy, _, scale = mode.partition("/")
    with tempfile.TemporaryDirectory() as folder:
        command = [options.program, "--model", model, "--policy", policy, "--seed", seed, "--data", options.data,
                   "--device", options.device,
                   "--output", folder, "--checkpoint-every", 0, "--evaluate-every", 0]
        command += ["--scale", scale] if scale else []
        command += ["--tta"] if options.tta else []
        command += ["--tf32"] if options.tf32 else []
        for name in PASSED_ON:
            value = getattr(options, name)
            if value is not None:
                command += ["--" + name.replace("_", "-"), value]
        environment = dict(os.environ, **({"OMP_NUM_THREADS": str(options.threads)} if options.threads else {}))
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment)
        if done.returncode != 0:
            raise RuntimeError(f"{model} {mode} seed {seed}: {done.stderr.strip()}")
        report = json.loads((Path(folder) / "result.json").read_text())
    (run,) = report["runs"]
    settings = {key: value for key, value in report["settings"].items() if key not in ("model", "seed", "data")}
    kept = ("final_loss", "time_per_step_ms", "images_per_second", "train_seconds", "peak_memory_bytes",
            "skipped_steps", "final_scale", "graph_note", "epoch_losses")
    return {"model": model, "mode": mode, "seed": seed, "mean_iou": run["result"]["mean_iou"],
            "accuracy": run["result"]["accuracy"], "class_iou": run["result"]["class_iou"],
            **{key: run[key] for key in kept}, "confusion": run["confusion"], "settings": settings,
            "commit": options.commit,
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")}


def compare(fp32, mixed):
    """A mixed mode against fp32; judged where both have three seeds and fp32 is good enough to be compared with."""
    scores = [run["mean_iou"] for run in fp32], [run["mean_iou"] for run in mixed]
    means = [statistics.fmean(side) for side in scores]
    row = {"fp32": scores[0], "mixed": scores[1], "fp32_mean": means[0], "mixed_mean": means[1],
           "difference": means[1] - means[0], "skipped": [run["skipped_steps"] for run in mixed],
           "final_scale": [run["final_scale"] for run in mixed]}
    if min(len(side) for side in scores) >= 3:
        row["pooled_sd"] = math.sqrt(statistics.fmean(statistics.variance(side) for side in scores))
        row["allowed_difference"] = max(0.01, 2 * row["pooled_sd"] * math.sqrt(2 / 3))
        row["counts"] = means[0] >= LEAST_MIOU
        row["holds"] = abs(row["difference"]) <= row["allowed_difference"]
    return row


def summary(runs):
    table = {}
    for model, seeds in SEEDS.items():
        for mode in MODES[1:]:
            both = [[run for seed in seeds for run in runs
                     if (run["model"], run["mode"], run["seed"]) == (model, wanted, seed)]
                    for wanted in (MODES[0], mode)]
            if all(len(side) == len(seeds) for side in both):
                table[f"{model}/{mode}"] = compare(*both)
    return table


class Results:
    """The results file, written anew after every run."""

    def __init__(self, path):
        self.path, self.lock = path, threading.Lock()
        self.runs = json.loads(path.read_text())["runs"] if path.exists() else []

    def has(self, job):
        return any((run["model"], run["mode"], run["seed"]) == job for run in self.runs)

    def add(self, run):
        with self.lock:
            for other in self.runs:
                differing = [key for key in run["settings"] if other["settings"].get(key) != run["settings"][key]]
                if differing:
                    raise RuntimeError(f"{self.path} holds runs with another {', '.join(differing)}. Name another --out.")
            self.runs = [other for other in self.runs if any(other[k] != run[k] for k in ("model", "mode", "seed"))]
            self.runs.append(run)
            self.runs.sort(key=lambda each: (list(SEEDS).index(each["model"]), MODES.index(each["mode"]), each["seed"]))
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self.path.with_suffix(".tmp")
            temporary.write_text(json.dumps({"criterion": {"least_fp32_mean_iou": LEAST_MIOU, "points": 1.0},
                                             "summary": summary(self.runs), "runs": self.runs}, indent=1) + "\n")
            temporary.replace(self.path)


def main():
    parser = argparse.ArgumentParser(description="mIoU of `segment` in fp32 and in mixed precision over seeds.")
    parser.add_argument("--program", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--models", default=",".join(SEEDS), help="comma-separated")
    parser.add_argument("--modes", default=",".join(MODES), help="comma-separated")
    parser.add_argument("--seeds", default="0,1,2", help="of those that are planned")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side")
    parser.add_argument("--minutes", type=float, help="start no run later than this")
    parser.add_argument("--again", action="store_true", help="make runs again that the file has")
    parser.add_argument("--threads", type=int, default=0, help="OpenMP threads a run; 0: the default")
    parser.add_argument("--out", type=Path, help="default: results/segmentation_accuracy-DEVICE.json beside this script")
    parser.add_argument("--commit", default=None, help="default: what git says")
    parser.add_argument("--tta", action="store_true")
    parser.add_argument("--tf32", action="store_true")
    for name in PASSED_ON:
        parser.add_argument("--" + name.replace("_", "-"), help="passed on to the program")
    options = parser.parse_args()
    options.commit = commit_of_checkout() if options.commit is None else options.commit
    options.out = options.out or HERE / "results" / f"segmentation_accuracy-{options.device}.json"
    results = Results(options.out)
    models, modes = options.models.split(","), options.modes.split(",")
    seeds = {int(seed) for seed in options.seeds.split(",")}
    jobs = [(model, mode, seed) for mode in MODES if mode in modes for model in SEEDS if model in models
            for seed in SEEDS[model] if seed in seeds and (options.again or not results.has((model, mode, seed)))]
    begun, failures = time.monotonic(), []

    def work(job):
        if options.minutes and time.monotonic() - begun > 60 * options.minutes:
            return
        try:
            run = train(options, *job)
            results.add(run)
            print(f"{job[0]} {job[1]} seed {job[2]}: mIoU {run['mean_iou']:.4f}, loss {run['final_loss']:.4f}, "
                  f"skipped {run['skipped_steps']}, {run['train_seconds']:.0f} s", flush=True)
        except RuntimeError as error:
            failures.append(error)
            print(f"FAILED: {error}", flush=True)

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(work, jobs))
    table = summary(results.runs)
    for name, row in table.items():
        verdict = "one seed, not judged"
        if "holds" in row:
            verdict = f"allowed {100 * row['allowed_difference']:.2f}: " + ("holds" if row["holds"] else "DOES NOT HOLD")
            verdict += "" if row["counts"] else f", but fp32 is below {LEAST_MIOU}: does not count"
        print(f"{name}: fp32 {row['fp32_mean']:.4f}, mixed {row['mixed_mean']:.4f}, difference "
              f"{100 * row['difference']:+.2f} points ({verdict})")
    planned = sum(len(seeds) * len(MODES) for seeds in SEEDS.values())
    print(f"{len(results.runs)} of {planned} planned runs, in {results.path}")
    bad = [row for row in table.values() if row.get("counts") and not row["holds"]]
    return 1 if failures or bad else 0


if __name__ == "__main__":
    sys.exit(main())
