#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Fashion-MNIST in fp32 and in mixed precision over fixed seeds: test accuracy, and how far the loss curves lie apart.
#   accuracy.py --program build/quickstart/examples/quickstart --data DIR --backend cpu
#   accuracy.py --program build/quickstart/examples/quickstart --data DIR --backend cuda --mixed fp16,fp16/512,bf16
# where ./dev quickstart has built the program.
# Criteria, fixed before the first run: fp32 and mixed reach 92 % mean accuracy; |mean mixed - mean fp32| is at most
# max(0.3 points, 2 pooled SD sqrt(2/3)); the mean |difference of loss| in each 5 % of training is at most twice the
# mean |difference| between two fp32 seeds there. The exit code is 1 where one of them fails.

import argparse
import concurrent.futures
import datetime
import itertools
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from compare import commit_of_checkout

HERE = Path(__file__).resolve().parent
SEEDS = (0, 1, 2)
PARTS = 20  # of 5 % each


def train(options, mode, seed, threads):
    """One run; mode is 'fp32', 'bf16', 'fp16' or 'fp16/512'."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run.json"
        command = [options.program, "--data", options.data, "--backend", options.backend, "--epochs", options.epochs,
                   "--batch", options.batch, "--seed", seed, "--json", out, "--out", Path(folder) / "run.png"]
        if mode == "fp32":
            command += ["--policy", "fp32"]
        else:
            dtype, _, scale = mode.partition("/")
            command += ["--policy", "mixed", "--mixed", dtype] + (["--scale", scale] if scale else [])
        environment = dict(os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {}))
        subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL, env=environment)
        (run,) = json.loads(out.read_text())["runs"]
    return run


def device_name(backend):
    """What the driver or the kernel calls the device."""
    if backend == "cuda":
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[0]
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def by_parts(losses):
    """Mean loss in each of PARTS equal parts of training."""
    bounds = [round(part * len(losses) / PARTS) for part in range(PARTS + 1)]
    return [statistics.fmean(losses[a:b]) for a, b in itertools.pairwise(bounds)]


def curve_distance(a, b):
    """Mean |difference| of two loss curves in each part of training."""
    bounds = [round(part * len(a) / PARTS) for part in range(PARTS + 1)]
    return [statistics.fmean(abs(x - y) for x, y in zip(a[i:j], b[i:j])) for i, j in itertools.pairwise(bounds)]


def compare(fp32, mixed):
    accuracy = [run["test_accuracy"] for run in fp32], [run["test_accuracy"] for run in mixed]
    means = [statistics.fmean(side) for side in accuracy]
    pooled = math.sqrt(statistics.fmean(statistics.variance(side) for side in accuracy))
    allowed = max(0.003, 2 * pooled * math.sqrt(2 / 3))
    between = [curve_distance(fp32[s]["losses"], mixed[s]["losses"]) for s in range(len(SEEDS))]
    seeds = [curve_distance(a["losses"], b["losses"]) for a, b in itertools.combinations(fp32, 2)]
    ratio = [statistics.fmean(part) / statistics.fmean(base)
             for part, base in zip(zip(*between), zip(*seeds))]
    return {
        "fp32_accuracy": accuracy[0], "mixed_accuracy": accuracy[1], "fp32_mean": means[0], "mixed_mean": means[1],
        "difference": means[1] - means[0], "allowed_difference": allowed, "pooled_sd": pooled,
        "worst_curve_ratio": max(ratio), "allowed_curve_ratio": 2.0,
        "skipped": [run["skipped_steps"] for run in mixed], "final_scale": [run["final_scale"] for run in mixed],
        "holds": min(means) >= 0.92 and abs(means[1] - means[0]) <= allowed and max(ratio) <= 2.0,
    }


def main():
    parser = argparse.ArgumentParser(description="Test accuracy on Fashion-MNIST in fp32 and in mixed precision over seeds.")
    parser.add_argument("--program", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--backend", choices=["cpu", "cuda"], required=True)
    parser.add_argument("--mixed", help="comma-separated: bf16, fp16, fp16/512")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side")
    parser.add_argument("--threads", type=int, default=0, help="OpenMP threads a run; 0: the default")
    parser.add_argument("--out", help="default: results/accuracy-BACKEND.json beside this script")
    options = parser.parse_args()
    mixed = (options.mixed or ("bf16" if options.backend == "cpu" else "fp16,fp16/512,bf16")).split(",")
    jobs = [(mode, seed) for mode in ["fp32", *mixed] for seed in SEEDS]
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        runs = dict(zip(jobs, pool.map(lambda job: train(options, *job, options.threads), jobs)))
    fp32 = [runs["fp32", seed] for seed in SEEDS]
    report = {"backend": options.backend, "device": device_name(options.backend), "commit": commit_of_checkout(),
              "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "epochs": options.epochs,
              "batch": options.batch, "seeds": SEEDS, "modes": {}}
    for mode in mixed:
        report["modes"][mode] = row = compare(fp32, [runs[mode, seed] for seed in SEEDS])
        print(f"{options.backend} {mode}: fp32 {row['fp32_mean']:.4f}, mixed {row['mixed_mean']:.4f}, difference "
              f"{100 * row['difference']:+.2f} points (allowed {100 * row['allowed_difference']:.2f}), loss curves "
              f"{row['worst_curve_ratio']:.2f} of fp32's seed to seed at worst (allowed 2), skipped {row['skipped']}: "
              f"{'holds' if row['holds'] else 'DOES NOT HOLD'}", flush=True)
    report["curves"] = {f"{mode}/{seed}": by_parts(run["losses"]) for (mode, seed), run in runs.items()}
    out = Path(options.out or HERE / "results" / f"accuracy-{options.backend}.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=1) + "\n")
    return 0 if all(row["holds"] for row in report["modes"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
