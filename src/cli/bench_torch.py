#!/usr/bin/env python3
"""The works of `brisk bench` in PyTorch, for its --compare-torch.

bench_torch.py DEVICE THREADS WORKS: DEVICE is brisk's name of it ("cpu", "cuda:0"), THREADS what a
CPU computes with, WORKS a JSON list of {"name", "kind": copy | read | product, "dtype", "size"}.
Prints one JSON object: "torch" (its version), "seconds" by name, and "missing" by name with the
reason; or "error" alone, with exit status 1. Times are medians of bursts of runs, on data at random,
as src/cli/device_bench.cpp takes them.
"""
import json
import statistics
import sys
import time

BURST_SECONDS = 0.05
BURSTS = 5
LONGEST_PRODUCT = 3  # seconds


def fail(message):
    print(json.dumps({"error": message}))
    sys.exit(1)


try:
    import torch
except ImportError as error:
    fail(f"PyTorch is not there for {sys.executable} ({error}); install it, or leave the option out")


def random_tensor(shape, dtype, device):
    if dtype == torch.int8:
        return torch.randint(-127, 128, shape, dtype=dtype, device=device)
    return torch.randn(shape, device=device).to(dtype)


def product(dtype, size, device):
    a = random_tensor((size, size), dtype, device)
    b = random_tensor((size, size), dtype, device).t()
    if dtype == torch.int8:
        return lambda: torch._int_mm(a, b)
    if dtype == getattr(torch, "float8_e4m3fn", None):
        one = torch.ones((), device=device)
        return lambda: torch._scaled_mm(a, b, scale_a=one, scale_b=one, out_dtype=torch.bfloat16)
    result = torch.empty((size, size), dtype=dtype, device=device)
    return lambda: torch.mm(a, b, out=result)


def run_of(work, size, device):
    name = {"float8_e4m3": "float8_e4m3fn"}.get(work["dtype"], work["dtype"])
    if not hasattr(torch, name):
        raise TypeError(f"this PyTorch has no {name}")
    dtype = getattr(torch, name)
    if work["kind"] == "product":
        return product(dtype, size, device)
    x = random_tensor((size,), dtype, device)
    if work["kind"] == "read":
        return lambda: torch.sum(x)
    y = torch.empty_like(x)
    return lambda: torch.neg(x, out=y)


def burst(run, count, wait):
    wait()
    start = time.perf_counter()
    for _ in range(count):
        run()
    wait()
    return (time.perf_counter() - start) / count


def seconds_of(work, device, wait):
    if work["kind"] == "product":
        trial = run_of(work, work["size"] // 4, device)
        trial()
        expected = 64 * burst(trial, 1, wait)
        if expected > LONGEST_PRODUCT:
            raise RuntimeError(f"one takes about {expected:.0f} s")
    run = run_of(work, work["size"], device)
    run()
    count = max(1, min(5000, int(BURST_SECONDS / burst(run, 1, wait))))
    return statistics.median(burst(run, count, wait) for _ in range(BURSTS))


def main(device, threads, works):
    kind = device.split(":")[0]
    if kind == "cpu":
        torch.set_num_threads(int(threads))
        wait = lambda: None
    elif kind == "cuda":
        if not torch.cuda.is_available():
            fail("this PyTorch has no CUDA device")
        wait = lambda: torch.cuda.synchronize(device)
    else:
        fail(f"PyTorch has no device like {device}")
    seconds, missing = {}, {}
    with torch.no_grad():
        for work in works:
            try:
                seconds[work["name"]] = seconds_of(work, device, wait)
            except (AttributeError, RuntimeError, NotImplementedError, TypeError, ValueError) as error:
                missing[work["name"]] = (str(error) or type(error).__name__).splitlines()[0]
    print(json.dumps({"torch": torch.__version__, "seconds": seconds, "missing": missing}))


main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
