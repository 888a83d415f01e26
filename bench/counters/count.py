#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Runs a CUDA program under counters.cpp and prints, as JSON, what each of its steps launches, allocates, copies and
# waits for. The program must put cudaProfilerStart and cudaProfilerStop around its steps:
#   count.py --library libcounters.so --steps 100 -- bench_training_step_cuda --profile --steps 100

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile

# Names of the runtime's and the driver's calls. Asynchronous allocations count as allocations too.
ALLOCATES = re.compile(r"^(cudaMalloc|cudaHostAlloc|cuMemAlloc|cuMemHostAlloc|cuMem(Create|Map|AddressReserve))")
FREES = re.compile(r"^(cudaFree|cuMemFree|cuMemRelease|cuMemUnmap|cuMemAddressFree)")
WAITS = re.compile(r"^(cuda|cu)(Stream|Event|Device|Ctx|Thread)Synchronize|^cudaMemcpy(?!.*Async)|^cuMemcpy(?!.*Async)")
LAUNCHES = re.compile(r"^(cudaLaunch|cuLaunch)(Kernel|Cooperative|Host)|^(cudaGraphLaunch|cuGraphLaunch)")


def calls_of(calls, pattern):
    return {name: count for name, count in calls.items() if pattern.search(name)}


def plain(mangled):
    """The kernel's name as C++ writes it, without the library's own namespaces and without its arguments."""
    text = subprocess.run(["c++filt", mangled], capture_output=True, text=True).stdout.strip() or mangled
    text = re.sub(r"mixprec::\w+::(cuda::)?(detail::)?", "", re.sub(r"^void ", "", text))
    return re.sub(r"(>)\(.*\)$", r"\1", text)


def counts(raw, steps, own_waits=1):
    def each(number):
        return round(number / steps, 4)

    def total(records):
        return sum(record["count"] for record in records.values())

    calls, kernels = raw["calls"], raw["kernels"]
    casts = {name: record for name, record in kernels.items() if is_cast(name)}
    by_name = sorted(kernels.items(), key=lambda item: -item[1]["nanoseconds"])
    return {
        "steps": steps,
        "kernels": each(total(kernels)),
        "kernels_in_graph": each(sum(record["in_graph"] for record in kernels.values())),
        "cast_kernels": each(total(casts)),
        "fills": each(raw["copies"].get("fill", {"count": 0})["count"]),
        "copies": {name: each(record["count"]) for name, record in raw["copies"].items() if name != "fill"},
        "launch_calls": each(sum(calls_of(calls, LAUNCHES).values())),
        "allocations": each(sum(calls_of(calls, ALLOCATES).values())),
        "frees": each(sum(calls_of(calls, FREES).values())),
        # Of all steps together, without the program's own wait for the last one.
        "wait_calls": sum(calls_of(calls, WAITS).values()) - own_waits,
        "waits": total(raw["waits"]) - own_waits,
        "kernel_microseconds": each(sum(record["nanoseconds"] for record in kernels.values()) / 1e3),
        "dropped_records": raw["dropped_records"],
        "problems": raw["problems"],
        "calls": calls,
        "by_kernel": [
            {
                "kernel": plain(name),
                "count": each(record["count"]),
                "microseconds": each(record["nanoseconds"] / 1e3),
            }
            for name, record in by_name
        ],
    }


def is_cast(mangled):
    """True for kernels that only change the dtype: our map_kernel without arithmetic, and what vendors name so."""
    text = plain(mangled)
    types = re.match(r"map_kernel<\d+, Same, ([\w:]+), ([\w:]+)>", text)
    if types is not None:
        return types[1] != types[2]
    return re.search(r"(?<!broad)cast|convertTensor", text) is not None


def run(library, command, environment=None):
    """The raw counts of one run of `command`."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "counts.json")
        settings = {"CUDA_INJECTION64_PATH": os.path.abspath(library), "MIXPREC_COUNTERS_FILE": path}
        result = subprocess.run(command, env={**os.environ, **(environment or {}), **settings}, stdout=subprocess.PIPE)
        if not os.path.exists(path):
            raise RuntimeError(
                f"{command[0]} (exit status {result.returncode}) left no counts. It must be a CUDA program, and "
                "libcupti must be found (LD_LIBRARY_PATH)."
            )
        if result.returncode != 0:
            raise RuntimeError(f"{command[0]} ended with exit status {result.returncode}.")
        with open(path) as file:
            return json.load(file), result.stdout.decode()


def main():
    parser = argparse.ArgumentParser(description="Counts kernels, casts, allocations, copies and waits of each step.")
    parser.add_argument("--library", required=True, help="counters.cpp as a shared library")
    parser.add_argument("--steps", type=int, required=True, help="steps between cudaProfilerStart and cudaProfilerStop")
    parser.add_argument("--own-waits", type=int, default=1, help="waits that the program adds to its steps (1)")
    parser.add_argument("--output", help="also write the JSON there")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    raw, printed = run(options.library, options.command)
    result = counts(raw, options.steps, options.own_waits)
    result["command"] = [os.path.basename(options.command[0]), *options.command[1:]]
    try:
        result["report"] = json.loads(printed.splitlines()[-1])
    except (IndexError, ValueError):
        pass
    text = json.dumps(result, indent=1)
    if options.output:
        os.makedirs(os.path.dirname(os.path.abspath(options.output)), exist_ok=True)
        with open(options.output, "w") as file:
            file.write(text + "\n")
    print(text)
    return 1 if result["problems"] or result["dropped_records"] else 0


if __name__ == "__main__":
    sys.exit(main())
