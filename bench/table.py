#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Writes the tables of a Markdown file from results/*.json, so that no number in it was typed: whatever stands between
# <!-- bench:NAME --> and <!-- /bench --> is replaced by the table of results/NAME.json (or of several: NAME,NAME).
#   table.py README.md            (--check changes nothing and fails where a table is out of date)

import argparse
import json
import re
import sys
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"
MARKED = re.compile(r"(<!-- bench:([\w.,-]+) -->\n).*?(<!-- /bench -->)", re.DOTALL)


def counts_reserved(report):
    """Whether a program's memory is what it reserved: PyTorch leaves the graphs' pool out of its allocated bytes."""
    return report["mode"].startswith("reduce-overhead")


def memory(report):
    """Peak bytes of a program. PyTorch's allocator holds the workspaces too; ours stand apart in the report."""
    if counts_reserved(report):
        return report["reserved_bytes"]
    apart = report.get("workspace_bytes", 0) + report.get("scratch_bytes", 0)
    return report.get("allocated_bytes") and report["allocated_bytes"] + apart


def mebibytes(report):
    if not memory(report):
        return ""
    return f"{memory(report) / 2**20:.0f}" + (" reserved" if counts_reserved(report) else "")


def plan_line(rows):
    """How far the compiler's plans are from what ran."""
    reports = [row["report"] for row in rows if row["report"].get("plan_bytes")]
    if not reports:
        return []
    apart = max(abs(report["step_bytes"] - report["plan_bytes"]) for report in reports)
    return [f"The compiler's plan and the step's peak differ by at most {apart:,} bytes in every row of ours.", ""]


def origin(result, rows):
    """The line below a table: who measured what, how, when."""
    versions = sorted({f"{row['report']['peer']} {row['report']['version']}" for row in rows})
    counts = sorted({(len(row["rounds"]), row.get("steps", result["steps"])) for row in rows})
    commits = sorted({row.get("commit", result["commit"])[:12] or "unknown" for row in rows})
    dates = sorted({row.get("date", result["date"])[:10] for row in rows})
    rounds = " or ".join(f"{number} rounds of {steps} steps" for number, steps in counts)
    return (f"{result['device']}; {', '.join(versions)}; medians of {rounds} in turns; commit {', '.join(commits)}, "
            f"{', '.join(dates)}.\n")


def steps_table(result, rows):
    """One row a program, for each batch."""
    lines = []
    for batch in sorted({row["batch"] for row in rows}):
        of_batch = sorted((row for row in rows if row["batch"] == batch), key=lambda row: -row["ms"])
        best = min((row["ms"] for row in of_batch if row["program"].startswith("mixprec")), default=None)
        lines += [
            f"| batch {batch} | ms per step | range of the rounds | times our fastest | MiB |",
            "|---|---:|---:|---:|---:|",
        ]
        for row in of_batch:
            name = f"**{row['program']}**" if row["program"].startswith("mixprec") else row["program"]
            ratio = f"{row['ms'] / best:.2f}" if best else ""
            span = f"{row['ms_min']:.2f}-{row['ms_max']:.2f}"
            lines.append(f"| {name} | {row['ms']:.2f} | {span} | {ratio} | {mebibytes(row['report'])} |")
        lines.append("")
    return lines + plan_line(rows)


HEADS = {"fcn": "FCN", "pspnet": "PSPNet", "deeplabv3": "DeepLabV3", "deeplabv3plus": "DeepLabV3+"}
# Modes of PyTorch, then ours, as columns; bfloat16 stands in where float16 is not measured (the CPU).
COLUMNS = (
    ("PyTorch fp32", ("pytorch fp32",)),
    ("eager", ("pytorch fp16", "pytorch bf16")),
    ("compile", ("pytorch compile", "pytorch compile-bf16")),
    ("reduce-overhead (reserved)", ("pytorch reduce-overhead", "pytorch reduce-overhead-bf16")),
    ("**mixprec fp32**", ("mixprec fp32",)),
    ("**mixprec**", ("mixprec amp-fp16", "mixprec amp-bf16")),
    ("**norms again**", ("mixprec amp-fp16-recompute",)),
    ("**expansions again**", ("mixprec amp-fp16-expansions",)),
)
OURS = "**mixprec**"  # the column that the others are measured in
AGAIN = tuple(name for name, programs in COLUMNS if programs[0].startswith("mixprec amp-fp16-"))


def networks_table(result, rows):
    """One row a network, one column a program: time and memory; then the times of the others in times of ours."""
    inference = result["suite"].endswith("inference")
    unit = "images/s" if inference else "ms"
    measured = {row["program"] for row in rows}
    columns = [column for column in COLUMNS if measured.intersection(column[1])]
    named = [name for name, _ in columns]
    # Only programs that took turns with ours are measured in its times.
    turns = {program for program in measured
             if any(re.match(re.escape(program) + " / mixprec amp-(fp16|bf16),", pair) for pair in result["ratios"])}
    others = [name for name, programs in columns if name not in (OURS, *AGAIN) and turns.intersection(programs)]
    lines = [
        f"| {unit} / GiB | {' | '.join(named)} | times {OURS}: {', '.join(others)} |",
        "|---" * (len(named) + 1) + "|---:|",
    ]
    order = list(HEADS)
    cases = sorted({row["case"] for row in rows},
                   key=lambda case: (int(case[1:].split("/")[0]), order.index(case.split("/")[1])))
    for case in cases:
        of_case = {row["program"]: row for row in rows if row["case"] == case}
        found = [next((of_case[program] for program in programs if program in of_case), None) for _, programs in columns]
        report = next(iter(of_case.values()))["report"]
        backbone, head = case.split("/")
        cells = [f"{HEADS[head]} {backbone.upper()} {report['batch']}x{report['height']}x{report['width']}"]
        for row in found:
            if row is None:
                cells.append("-")
                continue
            number = 1e3 * row["report"]["batch"] / row["ms"] if inference else row["ms"]
            bytes_used = memory(row["report"])
            text = f"{number:.1f}" + (f" / {bytes_used / 2**30:.2f}" if bytes_used else "")
            text += "" if row.get("counts", True) else " (does not count)"
            if not inference and row["ms_max"] - row["ms_min"] > 0.1 * row["ms"]:
                text += f" ({row['ms_min']:.1f}-{row['ms_max']:.1f})"
            cells.append(text)

        def ratio(other):
            ours = found[named.index(OURS)] if OURS in named else None
            pair = other and ours and f"{other['program']} / {ours['program']}, {case}"
            return f"{result['ratios'][pair]:.2f}" if pair in result["ratios"] else "-"

        cells.append(", ".join(ratio(row) for name, row in zip(named, found) if name in others))
        lines.append(f"| {' | '.join(cells)} |")
    notes = [] if inference else ["In brackets: the range of rounds that differ by more than 10 per cent."]
    if not all(row.get("counts", True) for row in rows):
        notes.append("A row of PyTorch's does not count where it is more than 15 per cent from an earlier run of its own "
                     "(`expected_ms` in the result).")
    return lines + ["", " ".join([*notes, "-: not measured, or not in one run."]), ""] + plan_line(rows)


MODES = {"amp-fp16/dynamic": "fp16, dynamic scale", "amp-fp16/512": "fp16, scale 512", "amp-bf16": "bf16"}


def miou_table(result):
    """One row a network: mean IoU in fp32, then under each mode, how far from fp32 it is and how far it may be."""
    lines = [f"| mIoU, seeds | fp32 | {' | '.join(MODES.values())} |", "|---" * 2 + "|---:" * len(MODES) + "|"]
    for model in sorted({name.partition("/")[0] for name in result["summary"]}, key=list(HEADS).index):
        found = [result["summary"].get(f"{model}/{mode}") for mode in MODES]
        fp32 = next(row for row in found if row)
        cells = [f"{HEADS[model]}, {len(fp32['fp32'])}", f"{fp32['fp32_mean']:.4f}"]
        for row in found:
            allowed = f" of {100 * row['allowed_difference']:.2f}" if row and "holds" in row else ""
            verdict = "" if not allowed or row["holds"] else ", fails"
            verdict += "" if not allowed or row["counts"] else ", fp32 too low to count"
            cells.append(f"{row['mixed_mean']:.4f} ({100 * row['difference']:+.2f}{allowed}{verdict})" if row else "-")
        lines.append(f"| {' | '.join(cells)} |")
    runs = result["runs"]
    settings = runs[0]["settings"]
    commits = ", ".join(sorted({run["commit"][:12] for run in runs}))
    lines += ["", f"{settings['device']}; {len(runs)} runs of {settings['epochs']} epochs, {settings['val_images']} validation "
              "images; in brackets the difference to fp32 in points, and with three seeds what is allowed: the larger of 1 and "
              f"2 pooled SD sqrt(2/3); commit {commits}, {max(run['date'] for run in runs)[:10]}.", ""]
    return "\n".join(lines)


ACCURACY_MODES = {"bf16": "bf16", "fp16": "fp16, dynamic scale", "fp16/512": "fp16, scale 512"}


def accuracy_table(results):
    """One row a device: mean test accuracy over the seeds in fp32, then under each mode, and how far from fp32 it may be."""
    lines = [f"| | fp32 | {' | '.join(ACCURACY_MODES.values())} |", "|---" + "|---:" * (1 + len(ACCURACY_MODES)) + "|"]
    for result in results:
        found = [result["modes"].get(mode) for mode in ACCURACY_MODES]
        cells = [result["device"], f"{next(row for row in found if row)['fp32_mean']:.4f}"]
        for row in found:
            verdict = "" if row is None or row["holds"] else ", fails"
            cells.append(f"{row['mixed_mean']:.4f} ({100 * row['difference']:+.2f} of "
                         f"{100 * row['allowed_difference']:.2f}{verdict})" if row else "-")
        lines.append(f"| {' | '.join(cells)} |")
    runs = " and ".join(sorted({f"{result['epochs']} epochs at batch {result['batch']}" for result in results}))
    seeds = ", ".join(str(seed) for seed in results[0]["seeds"])
    # The first results do not say which commit ran, only which one holds them.
    commits = ", ".join(sorted({f"commit {result['commit'][:12]}" if "commit" in result
                                else f"recorded in commit {result['recorded_in']}" for result in results}))
    return "\n".join([*lines, "", f"Seeds {seeds}; {runs}; in brackets the difference to fp32 in points, and what is allowed: the "
                      f"larger of 0.3 and 2 pooled SD sqrt(2/3); {commits}.", ""])


def op_table(result):
    """One row a program of a single op: time, memory, error."""
    lines = ["| | ms | GiB | largest error of the gradient |", "|---|---:|---:|---:|"]
    for row in result["rows"]:
        name = f"**{row['program']}**" if row["program"] == "mixprec" else f"{row['program']} {row['mode']}"
        lines.append(f"| {name} | {row['ms']:.2f} | {row['allocated_bytes'] / 2**30:.2f} | {row['gradient_error']:.1e} |")
    return "\n".join([*lines, "", f"{result['device']}; commit {result['commit'][:12]}, {result['date'][:10]}.", ""])


def counters_line(result):
    """What a program did in each step."""
    return (f"Per step, counted by CUPTI over {result['steps']} steps with batches on the device: {result['kernels']:.0f} kernels "
            f"in {result['launch_calls']:.0f} graph launch, {result['cast_kernels']:.0f} of them a cast (the images), "
            f"{result['allocations']:.0f} allocations, {result['waits']} host waits.\n")


def markdown(*results):
    result = results[0]
    if "modes" in result:
        return accuracy_table(results)
    if "summary" in result:
        return miou_table(result)
    if "launch_calls" in result:
        return counters_line(result)
    if "gradient_error" in result["rows"][0]:
        return op_table(result)
    rows = [row for row in result["rows"] if "ms" in row]
    if result.get("suite", "").startswith("segmentation"):
        return "\n".join([*networks_table(result, rows), origin(result, rows)])
    rows = [row for row in rows if row.get("counts", True)]
    return "\n".join([*steps_table(result, rows), origin(result, rows)])


def main():
    parser = argparse.ArgumentParser(description="Writes a Markdown file's tables from bench/results.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where a table is out of date")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()

    def fill(match):
        results = [json.loads((options.results / f"{name}.json").read_text()) for name in match[2].split(",")]
        return match[1] + markdown(*results) + match[3]

    before = options.file.read_text()
    after = MARKED.sub(fill, before)
    if after == before:
        return 0
    if options.check:
        print(f"{options.file}: a table is out of date. Run bench/table.py {options.file}.", file=sys.stderr)
        return 1
    options.file.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
