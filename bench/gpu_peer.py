#!/usr/bin/env python3
"""brisk beside PyTorch on one GPU: the works of bench/gpu_cases.h, both in this process, on the same
random data, in turn, with pauses; the results are compared before the times are.

gpu_peer.py LIBRARY JSONL [--from N] [PART…]: the works whose names contain a PART (all without).
A row for each on stdout, a line of JSON for each appended to JSONL. Exit status: 0 done, 1 a result
was wrong or a work failed. A work that hangs ends the process after two minutes; tools/gpu_bench.sh
goes on behind it. JSONL.progress holds the number of the work that is being measured.
"""
import ctypes
import json
import math
import os
import signal
import statistics
import sys
import time

import torch
import torch.nn.functional as F

ROUNDS = 5
BURST_SECONDS = 0.04
PAUSE_SECONDS = 0.02
HANGS_AFTER = 120  # seconds

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16,
          "int8": torch.int8, "float8_e4m3": torch.float8_e4m3fn}


def scaled_product(a, b):
    one = torch.ones((), device=a.device)
    return torch._scaled_mm(a, b.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16)


def convolution(x, weight):
    y = F.conv2d(x.permute(0, 3, 1, 2), weight.permute(0, 3, 1, 2), padding=1)
    return y.permute(0, 2, 3, 1)


PEERS = {
    "negate": torch.neg,
    "sum": torch.sum,
    "add": torch.add,
    "gelu": lambda a, b, c: F.gelu(a * b + c, approximate="tanh"),
    "softmax": lambda x: torch.softmax(x, 1),
    "layer_norm": lambda x, w, b: F.layer_norm(x, w.shape, w, b),
    "nn": lambda a, b: a @ b,
    "nt": lambda a, b: a @ b.t(),
    "tn": lambda a, b: a.t() @ b,
    "tt": lambda a, b: a.t() @ b.t(),
    "fp8 nt": scaled_product,
    "int8 nt": lambda a, b: torch._int_mm(a, b.t()),
    "matvec": torch.mv,
    "attention": F.scaled_dot_product_attention,
    "attention causal":
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
    "conv": convolution,
    "sort": lambda x: torch.sort(x, 1).values,
    "cumsum": lambda x: torch.cumsum(x, 1),
}


def load(path):
    library = ctypes.CDLL(path)
    library.gpu_works.restype = ctypes.c_char_p
    library.gpu_error.restype = ctypes.c_char_p
    library.gpu_burst.restype = ctypes.c_double
    library.gpu_result.argtypes = [ctypes.c_void_p, ctypes.c_longlong]
    return library


def random_input(spec):
    dtype = DTYPES[spec["dtype"]]
    if dtype == torch.int8:
        return torch.randint(-127, 128, spec["shape"], dtype=dtype, device="cuda")
    return torch.randn(spec["shape"], device="cuda").to(dtype)


class Brisk:
    """One open work; raises RuntimeError with brisk's words."""

    def __init__(self, library, index, inputs):
        self.library = library
        host = [x.cpu() for x in inputs]
        pointers = (ctypes.c_void_p * len(host))(*[x.data_ptr() for x in host])
        start = time.perf_counter()
        self.kernels = library.gpu_open(index, pointers)
        self.compile_seconds = time.perf_counter() - start
        self.check(self.kernels)

    def check(self, result):
        if result < 0:
            raise RuntimeError(self.library.gpu_error().decode())
        return result

    def burst(self, count):
        return self.check(self.library.gpu_burst(count))

    def result(self, like):
        host = torch.empty(like.shape, dtype=like.dtype)
        self.check(self.library.gpu_result(host.data_ptr(), host.numel() * host.element_size()))
        return host.to("cuda")

    def close(self):
        self.library.gpu_close()


class Peer:
    """PyTorch's side, with as many copies of the inputs as brisk has."""

    def __init__(self, work, inputs):
        self.function = PEERS[work["op"]]
        self.copies = [inputs] + [[x.clone() for x in inputs] for _ in range(work["copies"] - 1)]
        self.turn = 0

    def run(self):
        inputs = self.copies[self.turn % len(self.copies)]
        self.turn += 1
        return self.function(*inputs)

    def burst(self, count):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(count):
            self.run()
        torch.cuda.synchronize()
        return (time.perf_counter() - start) / count


def count_for(side):
    side.burst(1)
    once = max(side.burst(3), 1e-7)
    return max(1, min(2000, int(BURST_SECONDS / once)))


def difference(got, wanted):
    """The largest one, relative to the largest value wanted; NaN where one of them has a NaN."""
    largest = worst = 0.0
    for g, w in zip(got.reshape(-1).split(1 << 26), wanted.reshape(-1).split(1 << 26)):
        g, w = g.double(), w.double()
        here = (g - w).abs().max().item()
        if math.isnan(here):
            return here
        largest, worst = max(largest, w.abs().max().item()), max(worst, here)
    return worst / largest if largest else worst


def allowed(work, wanted):
    """Rounding to the result's type, and sums in another order."""
    if wanted.dtype == torch.int32:
        return 0
    if work["op"] == "sum":
        return 1e-2  # values that cancel each other
    return {torch.float32: 1e-4, torch.float16: 4e-3}.get(wanted.dtype, 1.6e-2)


def measure(library, index, work):
    """What the JSONL line of a work holds beside its name."""
    torch.manual_seed(index)
    inputs = [random_input(spec) for spec in work["inputs"]]
    peer = Peer(work, inputs)
    wanted = peer.run()
    ours = Brisk(library, index, inputs)
    try:
        error = difference(ours.result(wanted), wanted)
        if not error <= allowed(work, wanted):
            return {"failed": f"the result is off by {error:.3g} of the largest value"}
        del wanted
        counts = [count_for(ours), count_for(peer)]
        times = ([], [])
        for _ in range(ROUNDS):
            for side, count, list_ in zip((ours, peer), counts, times):
                time.sleep(PAUSE_SECONDS)
                list_.append(side.burst(count))
        return {"brisk": statistics.median(times[0]), "torch": statistics.median(times[1]),
                "ratio": statistics.median(t / b for b, t in zip(*times)), "error": error,
                "kernels": ours.kernels, "compile": ours.compile_seconds}
    finally:
        ours.close()


def rate(work, seconds):
    if work["memory"]:
        return f"{work['work'] / seconds / 1e9:.0f} GB/s"
    return f"{work['work'] / seconds / 1e12:.1f} TF/s"


def row(work, result):
    name = f"{work['name']:<36}"
    if "failed" in result:
        return f"{name}  failed: {result['failed'].splitlines()[0]}"
    share = f"{work['work'] / result['brisk'] / work['limit']:.2f}" if work["limit"] else "-"
    return (f"{name} {result['brisk'] * 1e6:>10.1f} {rate(work, result['brisk']):>12} "
            f"{rate(work, result['torch']):>12} {result['ratio']:>6.2f} {share:>6} "
            f"{result['kernels']:>8} {result['compile']:>9.2f} {result['error']:>9.1e}")


HEAD = (f"{'work':<36} {'brisk µs':>10} {'brisk':>12} {'PyTorch':>12} {'ratio':>6} {'share':>6} "
        f"{'kernels':>8} {'compile s':>9} {'off by':>9}")


def context_is_lost():
    try:
        torch.cuda.synchronize()
        return False
    except RuntimeError:
        return True


def main(arguments):
    path, lines = arguments[:2]
    parts = arguments[2:]
    first = 0
    if parts and parts[0] == "--from":
        first, parts = int(parts[1]), parts[2:]
    torch.backends.cudnn.benchmark = True
    torch.zeros(1, device="cuda")
    library = load(path)
    works = json.loads(library.gpu_works() or "[]")
    if not works:
        sys.exit("gpu_peer: " + library.gpu_error().decode())
    if first == 0:
        print(f"PyTorch {torch.__version__}, {torch.cuda.get_device_name()}\n{HEAD}", flush=True)
    status = 0
    for index, work in enumerate(works):
        if index < first or (parts and not any(part in work["name"] for part in parts)):
            continue
        with open(lines + ".progress", "w") as progress:
            progress.write(str(index))
        signal.alarm(HANGS_AFTER)
        try:
            result = measure(library, index, work)
        except (RuntimeError, torch.OutOfMemoryError) as error:
            result = {"failed": str(error)}
        signal.alarm(0)
        print(row(work, result), flush=True)
        with open(lines, "a") as out:
            out.write(json.dumps({"name": work["name"], "work": work["work"],
                                  "limit": work["limit"], **result}) + "\n")
        if "failed" in result:
            status = 1
            if context_is_lost():  # nothing more runs in this process
                sys.exit(3)
        torch.cuda.empty_cache()
    with open(lines + ".progress", "w") as progress:
        progress.write("done")
    sys.exit(status)


if __name__ == "__main__":
    main(sys.argv[1:])
