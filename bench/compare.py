#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Our training step beside PyTorch's: starts every program once, prepared, and lets them take turns (A B C A B C ...),
# so that clocks, temperature and neighbours weigh on all alike. Writes every round to results/NAME-DEVICE.json.
#   compare.py --device cuda --program build/bench/bench/bench_training_step_cuda --batch 256,2048
#   compare.py --device cpu --program build/bench/bench/bench_training_step --python build/peers/bin/python --batch 64

import argparse
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
OURS = {
    "cuda": "fp32,amp-fp16,amp-fp16/512,amp-bf16,amp-fp16/eager",
    "cpu": "fp32,amp-bf16",
}
PEERS = {"cuda": "fp32,fp16,bf16,compile,reduce-overhead,reduce-overhead-bf16", "cpu": "fp32,bf16"}
NET = ["--width", 32, "--stages", 1]


class Program:
    """A process that obeys the --serve protocol of bench/peers/README.md."""

    def __init__(self, name, command, environment):
        self.name, self.rounds, self.report = name, [], None
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment
        )
        answer = self.process.stdout.readline().strip()
        if answer != "ready":
            self.process.kill()
            raise RuntimeError(f"{name} did not become ready. Its command: {' '.join(map(str, command))}")

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer or answer.startswith("error"):
            raise RuntimeError(f'{self.name} answered "{answer}" to "{line}".')
        return answer

    def run(self, steps):
        self.rounds.append(float(self.ask(f"run {steps}")))

    def finish(self):
        self.report = json.loads(self.ask("report"))
        self.process.stdin.write("quit\n")
        self.process.stdin.close()
        self.process.wait()

    def row(self):
        return {
            "program": self.name,
            "batch": self.report["batch"],
            "ms": round(statistics.median(self.rounds), 4),
            "ms_min": min(self.rounds),
            "ms_max": max(self.rounds),
            "rounds": self.rounds,
            "report": self.report,
        }


def our_command(options, mode, batch):
    policy, _, variant = mode.partition("/")
    command = [options.program, "--policy", policy, "--batch", batch, "--serve", "1"]
    if options.commit:
        command += ["--commit", options.commit]
    if variant == "eager":
        command += ["--graph", "0"]
    elif variant:
        command += ["--scale", variant]
    return [str(word) for word in command]


def peer_command(options, mode, batch):
    command = [options.python, HERE / "peers/small_resnet.py", "--device", options.device, "--serve", mode]
    command += ["--batch", batch, *NET]
    if options.threads:
        command += ["--threads", options.threads]
    return [str(word) for word in command]


def expected(texts):
    """["256:fp16=4.4-4.9", "2048:fp16=5.2"] as {(256, "pytorch fp16"): (4.4, 4.9), (2048, "pytorch fp16"): (5.2, 5.2)}"""
    result = {}
    for text in texts:
        batch, mode, low, high = re.fullmatch(r"(\d+):([\w-]+)=([\d.]+)(?:-([\d.]+))?", text).groups()
        result[int(batch), f"pytorch {mode}"] = float(low), float(high or low)
    return result


def compare(options, batch, environment):
    programs, rows = [], []
    try:
        for name, modes, command in (("mixprec", options.ours, our_command), ("pytorch", options.peers, peer_command)):
            for mode in filter(None, modes.split(",")):
                print(f"batch {batch}: preparing {name} {mode}", file=sys.stderr, flush=True)
                try:
                    programs.append(Program(f"{name} {mode}", command(options, mode, batch), environment))
                except RuntimeError as error:
                    rows.append({"program": f"{name} {mode}", "batch": batch, "error": str(error)})
                    print(f"  {error}", file=sys.stderr)
        for number in range(options.rounds):
            # Every second round runs backwards, so that nobody always follows the same neighbour.
            for program in programs if number % 2 == 0 else reversed(programs):
                program.run(options.steps)
        for program in programs:
            program.finish()
            rows.append(program.row())
    finally:
        for program in programs:
            if program.process.poll() is None:
                program.process.kill()
    return rows


def ratios(rows):
    """Time of each peer, and of our own fp32, in times of each of our modes."""
    timed = [row for row in rows if "ms" in row]
    return {
        f"{other['program']} / {ours['program']}, batch {ours['batch']}": round(other["ms"] / ours["ms"], 3)
        for ours in timed
        if ours["program"].startswith("mixprec")
        for other in timed
        if other["batch"] == ours["batch"]
        and other is not ours
        and (other["program"].startswith("pytorch") or other["program"] == "mixprec fp32")
    }


def table(rows):
    lines = [f"{'program':34}{'batch':>7}{'ms':>10}{'min':>10}{'max':>10}{'MiB':>9}  "]
    for row in rows:
        if "ms" not in row:
            lines.append(f"{row['program']:34}{row['batch']:>7}  {row['error']}")
            continue
        allocated = row["report"].get("allocated_bytes")
        memory = f"{allocated / 2**20:9.1f}" if allocated else f"{'':9}"
        note = "" if row.get("counts", True) else "  does not count: far from the expected time"
        times = "".join(f"{row[key]:10.3f}" for key in ("ms", "ms_min", "ms_max"))
        lines.append(f"{row['program']:34}{row['batch']:>7}{times}{memory}{note}")
    return "\n".join(lines)


def commit_of_checkout():
    result = subprocess.run(["git", "rev-parse", "HEAD"], cwd=HERE, capture_output=True, text=True)
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=HERE, capture_output=True, text=True).stdout.strip()
    return (result.stdout.strip() + ("+changes" if changed else "")) if result.returncode == 0 else ""


def parse():
    parser = argparse.ArgumentParser(description="Times our training step and PyTorch's in turns.")
    parser.add_argument("--name", default="training_step", help="of the result: results/NAME-DEVICE.json")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--program", required=True, help="bench_training_step (cpu) or bench_training_step_cuda")
    parser.add_argument("--python", default=sys.executable, help="the Python that has PyTorch")
    parser.add_argument("--batch", default=None, help="comma-separated; default: 256,2048 on cuda, 64 on cpu")
    parser.add_argument("--ours", help="policies, as POLICY, POLICY/512 (static scale) or POLICY/eager (no graph)")
    parser.add_argument("--peers", help="modes of peers/small_resnet.py")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=50, help="steps of one turn")
    parser.add_argument("--threads", type=int, help="CPU threads of every program")
    parser.add_argument("--expect", action="append", default=[], metavar="BATCH:MODE=MS[-MS]",
                        help="a peer's row counts only within 15 per cent of this time or range; may be repeated")
    parser.add_argument("--output", default=str(HERE / "results"), help="folder of the result")
    parser.add_argument("--commit", default=None, help="default: what git says")
    options = parser.parse_args()
    options.batch = options.batch or ("256,2048" if options.device == "cuda" else "64")
    options.ours = OURS[options.device] if options.ours is None else options.ours
    options.peers = PEERS[options.device] if options.peers is None else options.peers
    options.commit = commit_of_checkout() if options.commit is None else options.commit
    return options


def mark_expected(rows, wanted):
    for row in rows:
        target = wanted.get((row["batch"], row["program"]))
        if target is not None and "ms" in row:
            low, high = target
            row |= {"expected_ms": target, "counts": 0.85 * low <= row["ms"] <= 1.15 * high}


def write(options, rows):
    """Writes results/NAME-DEVICE.json and returns its path."""
    devices = [row["report"]["device"] for row in rows if "report" in row and row["report"]["peer"] == "mixprec"]
    result = {
        "name": options.name,
        "device": devices[0] if devices else options.device,
        "machine": platform.processor() or platform.machine(),
        "load": os.getloadavg(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": options.commit,
        "arguments": sys.argv[1:],
        "steps": options.steps,
        "rows": rows,
        "ratios": ratios(rows),
    }
    label = "cpu" if options.device == "cpu" else re.sub(r"[^a-z0-9]+", "-", result["device"].lower()).strip("-")
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{options.name}-{label}.json"
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def main():
    options = parse()
    environment = dict(os.environ)
    if options.threads:
        environment["OMP_NUM_THREADS"] = str(options.threads)
    if options.device == "cpu":
        # Without these glibc gives PyTorch's large blocks back to the system in every step.
        environment |= {"MALLOC_MMAP_THRESHOLD_": "1073741824", "MALLOC_TRIM_THRESHOLD_": "8589934592"}
    rows, path = [], None
    for batch in map(int, options.batch.split(",")):
        rows += compare(options, batch, environment)
        mark_expected(rows, expected(options.expect))
        # After each batch, so that a run that is stopped leaves what it has.
        path = write(options, rows)
    print(table(rows))
    for pair, ratio in ratios(rows).items():
        print(f"{ratio:7.2f}  {pair}")
    print(path)
    return 1 if any("error" in row for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
