#!/usr/bin/env python3
"""brisk beside ONNX Runtime on the CPU: real models on random inputs, 2 threads each, in turns with
pauses; the outputs are compared as well.

onnx_peer.py PROGRAM [PART…]: PROGRAM is brisk_bench_onnx (bench/run.sh onnx builds and runs it); the
models whose names contain a PART, all without. Wants the packages onnxruntime and onnx, and the
models in ../shared/data beside the tree (BRISK_BENCH_DATA: another folder). Weights that a file gives
as constants (ONNX's light models) become random numbers first, for both sides.
Columns: milliseconds of a run (medians), their ratio (above 1 brisk is faster), seconds to load a
model and run it once: with brisk's kernel cache empty, with it full, ONNX Runtime's; the largest
difference of an output relative to its largest value.
"""
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

THREADS = 2
ROUNDS = 7
BURST_SECONDS = 0.15
PAUSE_SECONDS = 0.05  # in which the other side's threads stop spinning

DATA = pathlib.Path(os.environ.get("BRISK_BENCH_DATA") or
                    pathlib.Path(__file__).resolve().parents[2] / "shared" / "data")
SIZES = {"silero_vad": {"input": [1, 512], "state": [2, 1, 128]}}
SCALARS = {"sr": 16000}

try:
    import numpy as np
    import onnx
    import onnxruntime
    from onnx import numpy_helper
except ImportError as error:
    sys.exit(f"onnx_peer: {error}: the peer is missing (pip install onnxruntime onnx; "
             "BRISK_BENCH_PYTHON names another python3)")


def models():
    light = sorted(DATA.glob("onnx-light-models/*.onnx"))
    others = [DATA / path for path in
              ("mnist-onnx/mnist.onnx", "fastestdet/FastestDet.onnx",
               "super-resolution/pytorch_super_resolution.onnx", "silero-vad/silero_vad.onnx",
               "gtcrn-denoise/gtcrn_simple.onnx", "magika-v3_3/model.onnx")]
    return light + others + sorted(DATA.glob("tract-cases/*/model.onnx"))


def name_of(path):
    return path.stem if path.stem != "model" else path.parent.name


def random_weight(random, shape):
    """Of a size that keeps activations near 1; a vector is a scale, a shift or a variance."""
    if len(shape) < 2:
        return random.uniform(0.5, 1.5, shape).astype(np.float32)
    fan_in = np.prod(shape[1:])
    return (random.standard_normal(shape) * np.sqrt(1 / fan_in)).astype(np.float32)


def with_random_weights(model, random):
    """Nodes that fill a weight with one number become initializers."""
    graph = model.graph
    known = {one.name: one for one in graph.initializer}
    rest = []
    for node in graph.node:
        if node.op_type != "ConstantOfShape" or node.input[0] not in known:
            rest.append(node)
            continue
        shape = numpy_helper.to_array(known[node.input[0]]).tolist()
        graph.initializer.append(
            numpy_helper.from_array(random_weight(random, shape), node.output[0]))
    changed = len(rest) < len(graph.node)
    del graph.node[:]
    graph.node.extend(rest)
    return changed


def inputs_of(folder, name, model, random):
    """Those stored beside the model, or random ones."""
    if (folder / "io.npz").exists():
        stored = np.load(folder / "io.npz")
        return {port.name: stored[port.name] for port in model.graph.input if port.name in stored}
    given = {one.name for one in model.graph.initializer}
    feed = {}
    for port in model.graph.input:
        if port.name in given:
            continue
        kind = port.type.tensor_type
        shape = [d.dim_value or 1 for d in kind.shape.dim]
        shape = SIZES.get(name, {}).get(port.name, shape)
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if port.name in SCALARS:
            feed[port.name] = np.array(SCALARS[port.name], dtype)
        elif np.issubdtype(dtype, np.integer):
            feed[port.name] = random.integers(0, 256, shape).astype(dtype)
        else:
            feed[port.name] = random.uniform(0, 1, shape).astype(dtype)
    return feed


class Brisk:
    def __init__(self, program, path, folder, cache):
        environment = dict(os.environ, BRISK_CACHE=str(cache), BRISK_THREADS=str(THREADS))
        environment.setdefault("BRISK_DEVICE", "cpu")
        self.process = subprocess.Popen([program, str(path), str(folder)], env=environment, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        result = json.loads(answer) if answer else {"failed": "brisk's process ended"}
        if "failed" in result:
            raise RuntimeError(result["failed"])
        return result

    def burst(self, count):
        return self.ask(f"burst {count}")["seconds"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Peer:
    def __init__(self, path, feed):
        start = time.perf_counter()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(path), options,
                                                    providers=["CPUExecutionProvider"])
        self.outputs = self.session.run(None, feed)
        self.first = time.perf_counter() - start
        self.binding = self.session.io_binding()
        self.kept = [onnxruntime.OrtValue.ortvalue_from_numpy(x) for x in feed.values()]
        for name, value in zip(feed, self.kept):
            self.binding.bind_ortvalue_input(name, value)
        for port in self.session.get_outputs():
            self.binding.bind_output(port.name, "cpu")

    def burst(self, count):
        start = time.perf_counter()
        for _ in range(count):
            self.session.run_with_iobinding(self.binding)
        return (time.perf_counter() - start) / count


def count_for(side):
    once = max(side.burst(3), 1e-7)
    return max(1, min(5000, int(BURST_SECONDS / once)))


def difference(got, wanted):
    if got.shape != wanted.shape:
        return float("nan")
    if wanted.size == 0:
        return 0.0
    got, wanted = got.astype(np.float64), wanted.astype(np.float64)
    return float(np.abs(got - wanted).max() / max(np.abs(wanted).max(), 1e-30))


def measure(program, path, name, scratch):
    random = np.random.default_rng(7)
    model = onnx.load(path)
    feed = inputs_of(path.parent, name, model, random)
    if with_random_weights(model, random):
        path = scratch / f"{name}.onnx"
        onnx.save(model, path)
    np.savez(scratch / "in.npz", **feed)
    cache = scratch / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    cold = Brisk(program, path, scratch, cache)
    result = {"cold": cold.ask("first")["first"]}
    cold.close()
    ours = Brisk(program, path, scratch, cache)
    answer = ours.ask("first")
    peer = Peer(path, feed)
    result.update(warm=answer["first"], kernels=answer["kernels"], peer_first=peer.first)
    result["error"] = max(difference(np.load(scratch / f"out.{i}.npy"), wanted)
                          for i, wanted in enumerate(peer.outputs))
    counts = [count_for(ours), count_for(peer)]
    times = ([], [])
    for _ in range(ROUNDS):
        for side, count, list_ in zip((ours, peer), counts, times):
            time.sleep(PAUSE_SECONDS)
            side.burst(1)
            list_.append(side.burst(count))
    ours.close()
    result["brisk"], result["peer"] = (statistics.median(list_) for list_ in times)
    result["ratio"] = statistics.median(p / b for b, p in zip(*times))
    return result


def main(arguments):
    program, parts = arguments[0], arguments[1:]
    print(f"\n== ONNX models, ONNX Runtime {onnxruntime.__version__}, {THREADS} threads, load "
          f"{os.getloadavg()[0]:.1f} before")
    print(f"{'model':<30} {'brisk ms':>9} {'ORT ms':>9} {'ratio':>6} {'kernels':>7} {'cold s':>7} "
          f"{'warm s':>7} {'ORT s':>7} {'off by':>8}", flush=True)
    found = [path for path in models() if path.exists()]
    if not found:
        sys.exit(f"onnx_peer: no models in {DATA}")
    for path in found:
        name = name_of(path)
        if parts and not any(part in name for part in parts):
            continue
        with tempfile.TemporaryDirectory() as scratch:
            try:
                r = measure(program, path, name, pathlib.Path(scratch))
            except Exception as error:  # what either side says of a model, and on to the next
                print(f"{name:<30} failed: {str(error).splitlines()[0]}", flush=True)
                continue
        print(f"{name:<30} {r['brisk'] * 1e3:>9.3f} {r['peer'] * 1e3:>9.3f} {r['ratio']:>6.2f} "
              f"{r['kernels']:>7} {r['cold']:>7.2f} {r['warm']:>7.2f} {r['peer_first']:>7.2f} "
              f"{r['error']:>8.1e}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
