"""Times graded's 8-bit encoder, ONNX Runtime and PyTorch on the same token ids, in turns. See README.md."""

import argparse
import csv
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TEXTS = 32
AVX2 = "AVX2+FMA"
# Names the folder of the narrowed ONNX Runtime, in the process that `narrow` starts.
NARROWED = "GRADED_PEERS_NARROWED"
# Read there by PyTorch and the libraries beneath it.
AVX2_AT_MOST = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}


def parse():
    arguments = argparse.ArgumentParser(allow_abbrev=False)
    arguments.add_argument("--model", required=True, help="the sentence-transformers folder")
    arguments.add_argument("--bundle")
    arguments.add_argument("--ours", help="the encoder_times program")
    arguments.add_argument("--export", metavar="FOLDER", help="only write the graphs into this folder")
    arguments.add_argument("--also", action="append", default=[], help="an instruction set of ours")
    arguments.add_argument("--avx2", action="store_true", help="everyone as on a processor that ends at AVX2")
    arguments.add_argument("--lengths", default="32,128,256")
    arguments.add_argument("--rounds", type=int, default=7)
    return arguments.parse_args()


def narrow():
    """Runs this script anew with peers that see a processor whose widest vectors are AVX2's; returns its exit status.

    ONNX Runtime has no setting for it: of a copy of the package, whose version requirements.txt pins, every `xgetbv` that
    asks the system which registers it keeps (`mov eax, eax; shl rdx, 32` come after it) becomes `mov al, 7`: those up to AVX2.
    AVX-VNNI and AMX it looks for in other ways, so on a processor that has them this is refused."""
    if {"avx_vnni", "amx_tile"} & set(Path("/proc/cpuinfo").read_text().split()):
        sys.exit("--avx2: ONNX Runtime would use this processor's AVX-VNNI or AMX all the same")
    package = importlib.util.find_spec("onnxruntime")
    if package is None:
        sys.exit("onnxruntime is not installed: pip install -r requirements.txt")
    ask, answer, after = (bytes.fromhex(code) for code in ("0f01d0", "b00790", "89c048c1e220"))
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(Path(package.origin).parent, Path(folder) / "onnxruntime"))
        libraries = list((copy / "capi").glob("onnxruntime_pybind11_state*.so"))
        codes = [library.read_bytes() for library in libraries]
        if [code.count(ask + after) for code in codes] != [5]:
            sys.exit("--avx2 is written for the onnxruntime of requirements.txt, on x86-64; this is another")
        libraries[0].write_bytes(codes[0].replace(ask + after, answer + after))
        path = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
        environment = os.environ | AVX2_AT_MOST | {NARROWED: folder, "PYTHONPATH": path}
        return subprocess.run([sys.executable, *sys.argv], env=environment).returncode


ARGUMENTS = parse()
if ARGUMENTS.avx2 and NARROWED not in os.environ:
    sys.exit(narrow())

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers import optimizer
from transformers import AutoModel


class Ours:
    """A process that answers one line of ids with its seconds and vectors."""

    least_cosine = 0.97

    def __init__(self, program, bundle, instructions):
        self.process = subprocess.Popen([program, bundle, *instructions], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, ids):
        self.process.stdin.write(json.dumps(ids.tolist()) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return answer["seconds"], np.array(answer["vectors"])


class Limit:
    """The linear maps alone, at the speed at which `program`'s instruction set multiplies bytes on registers."""

    def __init__(self, program, products):
        self.process, self.products = program.process, products

    def run(self, ids):
        self.process.stdin.write("limit\n")
        self.process.stdin.flush()
        products_per_second = json.loads(self.process.stdout.readline())
        return self.products * ids.size / (products_per_second or float("nan")), None


class Ort:
    """An ONNX graph; the mean is taken by numpy, outside the time."""

    least_cosine = 0.95

    def __init__(self, path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(self, ids):
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        start = time.process_time()
        hidden = self.session.run(None, inputs)[0]
        return time.process_time() - start, hidden.mean(1)


class Torch:
    """A model as transformers loads it."""

    least_cosine = 0.97

    def __init__(self, model):
        self.model = model

    def run(self, ids):
        ids = torch.tensor(ids)
        with torch.inference_mode():
            start = time.process_time()
            hidden = self.model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
            seconds = time.process_time() - start
        return seconds, hidden.float().mean(1).numpy()


class TokenVectors(torch.nn.Module):
    """What is exported: ids and mask to token vectors."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


def export(model, folder):
    """Writes the float graph, the fused one, and both in 8 bits; returns the paths of the latter."""
    plain, fused = folder / "plain.onnx", folder / "fused.onnx"
    ids = torch.ones(2, 16, dtype=torch.long)
    axes = {name: {0: "batch", 1: "tokens"} for name in ("input_ids", "attention_mask", "hidden")}
    torch.onnx.export(TokenVectors(model), (ids, ids), str(plain), input_names=["input_ids", "attention_mask"],
                      output_names=["hidden"], dynamic_axes=axes, opset_version=17, dynamo=False)
    config = model.config
    optimizer.optimize_model(str(plain), model_type="bert", num_heads=config.num_attention_heads,
                             hidden_size=config.hidden_size).save_model_to_file(str(fused))
    for path in (plain, fused):
        quantize_dynamic(str(path), str(path.with_suffix(".int8.onnx")), weight_type=QuantType.QInt8, per_channel=True,
                         extra_options={"DefaultTensorType": 1})
    return plain.with_suffix(".int8.onnx"), fused.with_suffix(".int8.onnx")


def least_cosine(found, expected):
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return float(((found * expected).sum(1) / norms).min())


def main(arguments):
    if arguments.avx2 != onnxruntime.__file__.startswith(os.environ.get(NARROWED, "/ none /")):
        sys.exit(f"--avx2 and {onnxruntime.__file__} do not go together: is {NARROWED} set from elsewhere?")
    torch.set_num_threads(1)
    eager = AutoModel.from_pretrained(arguments.model, attn_implementation="eager").eval()
    if arguments.export:
        Path(arguments.export).mkdir(parents=True, exist_ok=True)
        print(*export(eager, Path(arguments.export)), sep="\n")
        return
    if not (arguments.bundle and arguments.ours):
        sys.exit("--bundle and --ours are missing; or --export FOLDER, to write the graphs alone")
    entrants = {"graded": Ours(arguments.ours, arguments.bundle, [AVX2] if arguments.avx2 else [])}
    for name in arguments.also:
        entrants[f"graded {name}"] = Ours(arguments.ours, arguments.bundle, [name])
    config = eager.config
    products = config.num_hidden_layers * (4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size)
    entrants["limit"] = Limit(entrants["graded"], products)
    with tempfile.TemporaryDirectory() as folder:
        plain, fused = export(eager, Path(folder))
        entrants["ort int8"], entrants["ort fused int8"] = Ort(plain), Ort(fused)
    entrants["torch bf16"] = Torch(AutoModel.from_pretrained(arguments.model, dtype=torch.bfloat16).eval())
    entrants["torch f32"] = Torch(AutoModel.from_pretrained(arguments.model).eval())
    random = np.random.default_rng(0)
    out = csv.writer(sys.stdout)
    out.writerow(["tokens", "entrant", "sentences_per_second", "least", "most", "times_graded", "least_cosine"])
    for length in map(int, arguments.lengths.split(",")):
        ids = random.integers(1000, 30000, (TEXTS, length))
        expected = entrants["torch f32"].run(ids)[1]
        cosines = {}
        for name, entrant in entrants.items():
            if isinstance(entrant, Limit):
                continue
            found = least_cosine(entrant.run(ids)[1], expected)
            assert found >= entrant.least_cosine, f"{name}, {length} tokens: cosine {found}"
            cosines[name] = f"{found:.4f}"
        seconds = {name: [] for name in entrants}
        for _ in range(arguments.rounds):
            for name, entrant in entrants.items():
                seconds[name].append(entrant.run(ids)[0])
        ours = statistics.median(seconds["graded"])
        for name, times in seconds.items():
            middle = statistics.median(times)
            row = [TEXTS / middle, TEXTS / max(times), TEXTS / min(times)]
            out.writerow([length, name, *(f"{value:.1f}" for value in row), f"{middle / ours:.2f}", cosines.get(name, "")])
        sys.stdout.flush()


if __name__ == "__main__":
    main(ARGUMENTS)
