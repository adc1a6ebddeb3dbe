"""Compiles every kernel with NVRTC and prints what it takes: registers, shared memory, stack, spills.

Run by kernels/cuda_check, inside an environment that holds NVIDIA's NVRTC. Arguments: a folder for the PTX and
cubins. Ends with 1 when a kernel does not compile or spills registers.
"""

import ctypes
import pathlib
import re
import subprocess
import sys
import sysconfig

SOURCES = pathlib.Path(__file__).parent / "src"
PORTABLE = ["cuda/threads.cuh", "cuda/product.cuh"]
HOPPER = ["cuda/threads.cuh", "cuda/hopper.cuh", "cuda/hopper_product.cuh"]
# What a file's kernels are compiled over: headers, and what the table calls them.
TRANSFORMER = [
    (values, ["cuda/threads.cuh", f"transformer/{values}.cuh"], target)
    for values in ["f32", "bf16"]
    for target in ["compute_80", "sm_80", "sm_90a"]
]
TARGETS = [("portable", PORTABLE, "compute_80"), ("portable", PORTABLE, "sm_80"), ("portable", PORTABLE, "sm_90a"), ("hopper", HOPPER, "sm_90a")]
KERNELS = {"top_k/top_k.cu": TARGETS, "h_infonce/h_infonce.cu": TARGETS, "transformer/transformer.cu": TRANSFORMER}
USAGE = re.compile(r"Compiling entry function '(\w+)'|(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads|Used (\d+) registers(?:.*?(\d+) bytes smem)?")


def load_nvrtc():
    folders = pathlib.Path(sysconfig.get_paths()["purelib"]).glob("nvidia/*/lib")
    for folder in folders:
        for builtins in folder.glob("libnvrtc-builtins.so*"):
            ctypes.CDLL(str(builtins), ctypes.RTLD_GLOBAL)
        for library in folder.glob("libnvrtc.so.*"):
            return ctypes.CDLL(str(library))
    sys.exit("no libnvrtc.so in this Python's packages")


class Nvrtc:
    def __init__(self):
        self.library = load_nvrtc()
        self.library.nvrtcGetErrorString.restype = ctypes.c_char_p

    def check(self, code, what):
        if code:
            sys.exit(f"{what}: {self.library.nvrtcGetErrorString(code).decode()}")

    def text(self, program, what):
        size = ctypes.c_size_t()
        self.check(getattr(self.library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)), what)
        buffer = ctypes.create_string_buffer(size.value)
        self.check(getattr(self.library, f"nvrtcGet{what}")(program, buffer), what)
        return buffer.raw

    def compile(self, source, name, target):
        """The image and the compiler's log; exits with the log when the source does not compile."""
        program = ctypes.c_void_p()
        create = self.library.nvrtcCreateProgram
        self.check(create(ctypes.byref(program), source.encode(), name.encode(), 0, None, None), "create")
        real = target.startswith("sm_")
        options = [f"--gpu-architecture={target}", "--std=c++17", "-default-device"]
        options += ["--ptxas-options=-v"] if real else []
        array = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])
        failed = self.library.nvrtcCompileProgram(program, len(options), array)
        log = self.text(program, "ProgramLog").rstrip(b"\0").decode()
        if failed:
            sys.exit(f"{name} does not compile for {target}:\n{log}")
        return self.text(program, "CUBIN" if real else "PTX"), log


def usage(log):
    """Yields (kernel, registers, static shared bytes, stack bytes, spilled bytes)."""
    kernel, stack, spilled = None, 0, 0
    for match in USAGE.finditer(log):
        name, frame, stores, loads, registers, shared = match.groups()
        if name:
            kernel, stack, spilled = name, 0, 0
        elif frame is not None:
            stack, spilled = int(frame), int(stores) + int(loads)
        elif kernel:
            yield kernel, int(registers), int(shared or 0), stack, spilled
            kernel = None


def main():
    output = pathlib.Path(sys.argv[1])
    output.mkdir(parents=True, exist_ok=True)
    nvrtc = Nvrtc()
    spilling, count = [], 0
    print(f"{'kernel':28} {'target':8} {'over':8} {'registers':>9} {'shared':>7} {'stack':>6} {'spilled':>8}")
    for path, targets in KERNELS.items():
        entries = set(re.findall(r"^([a-z]\w+)\(", (SOURCES / path).read_text(), re.MULTILINE))
        for products, headers, target in targets:
            source = "\n".join((SOURCES / file).read_text() for file in [*headers, path])
            image, log = nvrtc.compile(source, path, target)
            # The compiler's remark when it lets products wait for one another that could overlap.
            if "serialized" in log:
                sys.exit(f"{path} for {target}, {products}: products are serialized\n{log}")
            suffix = "cubin" if target.startswith("sm_") else "ptx"
            (output / f"{pathlib.Path(path).stem}.{products}.{target}.{suffix}").write_bytes(image)
            if suffix == "ptx":
                continue
            seen = set()
            for kernel, registers, shared, stack, spilled in usage(log):
                seen.add(kernel)
                print(f"{kernel:28} {target:8} {products:8} {registers:9} {shared:7} {stack:6} {spilled:8}")
                if spilled:
                    spilling.append(f"{kernel} ({target}, {products})")
            if seen != entries:
                sys.exit(f"{path} for {target}: expected a report on {sorted(entries)}, got {sorted(seen)}\n{log}")
            count += len(seen)
    if spilling:
        sys.exit(f"registers are spilled by {', '.join(spilling)}")
    print(f"{count} kernel builds, no spills")


if __name__ == "__main__":
    main()
