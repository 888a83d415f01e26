#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Our programs beside PyTorch's: starts every program once, prepared, and lets them take turns (A B C A B C ...), so
# that clocks, temperature and neighbours weigh on all alike. Writes every round to results/NAME-DEVICE.json.
#   compare.py --device cuda --program build/bench/bench/bench_training_step_cuda --cases 256,2048
#   compare.py --device cpu --program build/bench/bench/bench_training_step --python build/peers/bin/python --cases 64
#   compare.py --suite segmentation --program build/bench/bench/bench_segmentation_step_cuda --cases r50/fcn --merge

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

from suites import SUITES, our_command, peer_command

HERE = Path(__file__).resolve().parent

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

    def row(self, case):
        return {
            "program": self.name,
            **case.key,
            "ms": round(statistics.median(self.rounds), 4),
            "ms_min": min(self.rounds),
            "ms_max": max(self.rounds),
            "rounds": self.rounds,
            "report": self.report,
        }


def expected(texts):
    """["256:fp16=4.4-4.9", "r50/fcn:fp16=146"] as {("256", "pytorch fp16"): (4.4, 4.9), ...: (146.0, 146.0)}"""
    result = {}
    for text in texts:
        match = re.fullmatch(r"([\w/]+):([\w-]+)=([\d.]+)(?:-([\d.]+))?", text)
        if match is None:
            raise ValueError(f'--expect is "{text}". Write CASE:MODE=MS or CASE:MODE=MS-MS.')
        case, mode, low, high = match.groups()
        result[case, f"pytorch {mode}"] = float(low), float(high or low)
    return result


def name_of_case(row):
    return row.get("case") or str(row["batch"])


def refuse_other_work(suite, rows):
    """Marks rows whose program reports another network or other extents than the first."""
    reports = [row["report"] for row in rows if "report" in row]
    for row in (row for row in rows if "report" in row):
        other = [key for key in suite.same if row["report"].get(key) != reports[0].get(key)]
        if other:
            row |= {"counts": False, "differs_in": other}


def compare(options, case, environment):
    programs, rows = [], []
    try:
        for name, modes, command in (("mixprec", options.ours, our_command), ("pytorch", options.peers, peer_command)):
            for mode in filter(None, modes.split(",")):
                print(f"{case.name}: preparing {name} {mode}", file=sys.stderr, flush=True)
                try:
                    programs.append(Program(f"{name} {mode}", command(options, case, mode), environment))
                except RuntimeError as error:
                    rows.append({"program": f"{name} {mode}", **case.key, "error": str(error)})
                    print(f"  {error}", file=sys.stderr)
        for number in range(options.rounds):
            # Every second round runs backwards, so that nobody always follows the same neighbour.
            for program in programs if number % 2 == 0 else reversed(programs):
                program.run(options.steps)
        for program in programs:
            program.finish()
            rows.append(program.row(case))
    finally:
        for program in programs:
            if program.process.poll() is None:
                program.process.kill()
    return rows


def label(row):
    return row.get("case") or f"batch {row['batch']}"


def ratios(rows):
    """Time of each peer, and of our own fp32, in times of each of our modes."""
    timed = [row for row in rows if "ms" in row and row.get("counts", True)]
    return {
        f"{other['program']} / {ours['program']}, {label(ours)}": round(other["ms"] / ours["ms"], 3)
        for ours in timed
        if ours["program"].startswith("mixprec")
        for other in timed
        if name_of_case(other) == name_of_case(ours)
        and other is not ours
        and (other["program"].startswith("pytorch") or other["program"] == "mixprec fp32")
    }


def table(rows):
    lines = [f"{'program':30}{'case':>20}{'ms':>10}{'min':>10}{'max':>10}{'MiB':>9}  "]
    for row in rows:
        if "ms" not in row:
            lines.append(f"{row['program']:30}{name_of_case(row):>20}  {row['error']}")
            continue
        allocated = row["report"].get("allocated_bytes")
        memory = f"{allocated / 2**20:9.1f}" if allocated else f"{'':9}"
        note = "" if row.get("counts", True) else "  does not count: far from the expected time"
        if "differs_in" in row:
            note = f"  does not count: other work than the first row's ({', '.join(row['differs_in'])})"
        times = "".join(f"{row[key]:10.3f}" for key in ("ms", "ms_min", "ms_max"))
        lines.append(f"{row['program']:30}{name_of_case(row):>20}{times}{memory}{note}")
    return "\n".join(lines)


def commit_of_checkout():
    result = subprocess.run(["git", "rev-parse", "HEAD"], cwd=HERE, capture_output=True, text=True)
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=HERE, capture_output=True, text=True).stdout.strip()
    return (result.stdout.strip() + ("+changes" if changed else "")) if result.returncode == 0 else ""


def parse():
    parser = argparse.ArgumentParser(description="Times our programs and PyTorch's in turns.")
    parser.add_argument("--suite", choices=tuple(SUITES), default="training_step")
    parser.add_argument("--name", help="of the result: results/NAME-DEVICE.json; default: the suite's")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--program", required=True, help="bench_SUITE's program (on cuda: bench_SUITE_cuda)")
    parser.add_argument("--python", default=sys.executable, help="the Python that has PyTorch")
    parser.add_argument("--cases", "--batch", default=None, help="comma-separated; default: the suite's, as 256,2048 or "
                        "r50/fcn,r101/deeplabv3plus")
    parser.add_argument("--ours", help="policies, as POLICY, POLICY/512 (static scale) or POLICY/eager (no graph)")
    parser.add_argument("--peers", help="modes of the suite's program in peers/")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--steps", type=int, help="steps of one turn")
    parser.add_argument("--warm-up", type=int, help="steps before the first turn; default: the programs'")
    parser.add_argument("--threads", type=int, help="CPU threads of every program")
    parser.add_argument("--expect", action="append", default=[], metavar="CASE:MODE=MS[-MS]",
                        help="a peer's row counts only within 15 per cent of this time or range; may be repeated")
    parser.add_argument("--output", default=str(HERE / "results"), help="folder of the result")
    parser.add_argument("--merge", action="store_true", help="keep the rows of the result that are not measured now")
    parser.add_argument("--commit", default=None, help="default: what git says")
    options = parser.parse_args()
    suite = SUITES[options.suite]
    options.name = options.name or options.suite
    options.ours = suite.ours[options.device] if options.ours is None else options.ours
    options.peers = suite.peers[options.device] if options.peers is None else options.peers
    options.rounds = options.rounds or suite.rounds
    options.steps = options.steps or suite.steps
    options.commit = commit_of_checkout() if options.commit is None else options.commit
    try:
        options.cases = [suite.case(name, options.device)
                         for name in (options.cases or suite.cases[options.device]).split(",")]
        options.expect = expected(options.expect)
    except ValueError as error:
        parser.error(str(error))
    return options


def mark_expected(rows, wanted):
    for row in rows:
        target = wanted.get((name_of_case(row), row["program"]))
        if target is not None and "ms" in row:
            low, high = target
            row |= {"expected_ms": target, "counts": 0.85 * low <= row["ms"] <= 1.15 * high}


def merged(before, result):
    """`result` with the rows and ratios of `before` that it has not measured again."""
    def identity(row):
        return name_of_case(row), row["program"]

    measured = {identity(row) for row in result["rows"] if "ms" in row}
    kept = [row for row in before["rows"] if identity(row) not in measured]
    have = {identity(row) for row in kept}
    rows = kept + [row for row in result["rows"] if identity(row) not in have]
    ratios_of_turns = {pair: ratio for pair, ratio in before["ratios"].items() if took_turns(pair, rows)} | result["ratios"]
    return result | {"device": before["device"], "rows": rows, "ratios": ratios_of_turns}


def took_turns(pair, rows):
    """Whether the two rows that a ratio names are of one run still."""
    programs, _, case = pair.rpartition(", ")
    dates = [row.get("date") for row in rows if label(row) == case and row["program"] in programs.split(" / ")]
    return len(dates) == 2 and dates[0] == dates[1]


def write(options, rows):
    """Writes results/NAME-DEVICE.json and returns its path."""
    reports = [row["report"] for row in rows if "report" in row]
    devices = [report["device"] for report in sorted(reports, key=lambda report: report["peer"] != "mixprec")]
    result = {
        "name": options.name,
        "suite": options.suite,
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
    for row in rows:
        # Each row has its own, because rows of several runs may come together in one file.
        row.setdefault("date", result["date"])
        row.setdefault("commit", result["commit"])
        row.setdefault("steps", result["steps"])
    device = "cpu" if options.device == "cpu" else re.sub(r"[^a-z0-9]+", "-", result["device"].lower()).strip("-")
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{options.name}-{device}.json"
    if options.merge and path.exists():
        result = merged(json.loads(path.read_text()), result)
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
    for case in options.cases:
        of_case = compare(options, case, environment)
        mark_expected(of_case, options.expect)
        refuse_other_work(SUITES[options.suite], of_case)
        rows += of_case
        # After each case, so that a run that is stopped leaves what it has.
        path = write(options, rows)
    print(table(rows))
    for pair, ratio in ratios(rows).items():
        print(f"{ratio:7.2f}  {pair}")
    print(path)
    return 1 if any("error" in row or "differs_in" in row for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
