#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Writes the tables of a Markdown file from results/*.json, so that no number in it was typed: whatever stands between
# <!-- bench:NAME --> and <!-- /bench --> is replaced by the table of results/NAME.json.
#   table.py README.md            (--check changes nothing and fails where a table is out of date)

import argparse
import json
import re
import sys
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"
MARKED = re.compile(r"(<!-- bench:([\w.-]+) -->\n).*?(<!-- /bench -->)", re.DOTALL)


def mebibytes(report):
    allocated = report.get("allocated_bytes")
    # PyTorch leaves the graphs' pool out of its allocated bytes.
    if report["mode"].startswith("reduce-overhead"):
        allocated = report.get("reserved_bytes")
    return f"{allocated / 2**20:.0f}" if allocated else ""


def markdown(result):
    rows = [row for row in result["rows"] if "ms" in row and row.get("counts", True)]
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
    reports = [row["report"] for row in rows]
    versions = sorted({f"{report['peer']} {report['version']}" for report in reports})
    lines.append(
        f"{result['device']}; {', '.join(versions)}; medians of {max(len(row['rounds']) for row in rows)} rounds of "
        f"{result['steps']} steps in turns; commit {result['commit'][:12] or 'unknown'}, {result['date'][:10]}."
    )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description="Writes a Markdown file's tables from bench/results.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--check", action="store_true", help="change nothing; fail where a table is out of date")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()

    def fill(match):
        return match[1] + markdown(json.loads((options.results / f"{match[2]}.json").read_text())) + match[3]

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
