"""The program, its packages and the machine: for a run's folder, and for reports of bugs."""

import json
import os
import platform
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import torch

from patchwise.version import __version__

# What pyproject.toml names, which a test compares.
REQUIRED = (
    "faiss-cpu", "jaxtyping", "jinja2", "lightning-fabric", "markupsafe", "numpy", "pillow",
    "pydantic", "pyyaml", "rich", "safetensors", "scipy", "tensorboard", "tomli-w", "torch",
    "typer",
)  # fmt: skip
OPTIONAL = ("huggingface_hub", "timm", "torchvision")
_IN_A_RUN = ("torch", "lightning-fabric", "numpy", "pillow", "safetensors", "pydantic")
_CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8")
_IMPORT_S = 120.0  # after which a package is said not to be importable
_NO_LIMIT = 2**60  # bytes; what control groups say instead of "none"


@dataclass(frozen=True)
class Environment:
    """Everything a report of a bug needs; no paths but what a failing import names."""

    program: dict[str, str]
    machine: dict[str, str]
    torch: dict[str, str]
    packages: dict[str, str]  # versions of what must be there
    optional: dict[str, str]  # likewise, with what their import says

    def to_text(self) -> str:
        """Return all facts, one a line, in groups."""
        return "\n".join(
            f"{group}\n" + "\n".join(f"  {name}: {value}" for name, value in facts.items())
            for group, facts in asdict(self).items()
        )

    def to_json(self) -> str:
        """Return all facts as JSON."""
        return json.dumps(asdict(self), indent=2)


def peak_bytes(device: torch.device) -> int:
    """Return the most memory that this process held so far; on a GPU, of the GPU's memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():  # on Linux the other way counts what the parent held when it started this
        peaks = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return 1024 * int(peaks[0].split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak  # kilobytes elsewhere


def describe_environment(device: str) -> str:
    """Return version, commit, packages and machine, a fact a line."""
    facts = {
        **_program(),
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.machine(),
        "threads": str(torch.get_num_threads()),
        **{name: metadata.version(name) for name in _IN_A_RUN},
    }
    return "".join(f"{name}: {value or 'unknown'}\n" for name, value in facts.items())


def inspect_environment() -> Environment:
    """Return versions, processor, memory, devices, and which optional packages can be imported.

    Those are imported in processes of their own: one that is broken harms nothing.
    """
    with ThreadPoolExecutor(len(OPTIONAL)) as pool:
        imported = dict(zip(OPTIONAL, pool.map(_try_import, OPTIONAL), strict=True))
    return Environment(
        program={name: value or "unknown" for name, value in _program().items()},
        machine=_machine(),
        torch=_torch(),
        packages={name: _version(name) for name in REQUIRED},
        optional=imported,
    )


def _program() -> dict[str, str]:
    return {
        "patchwise": __version__,
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }


def _machine() -> dict[str, str]:
    cpu = _cpu_info()
    flags = set(cpu.get("flags", "").split())
    facts = {
        "processor": cpu.get("model name") or platform.processor() or platform.machine(),
        "cores": f"{os.cpu_count()}, of which this process may use {usable_cores()}",
        "memory": _gib(_pages("SC_PHYS_PAGES")),
        "memory free": _gib(_pages("SC_AVPHYS_PAGES")),
        "memory limit": _gib(_memory_limit()) if _memory_limit() else "none",
    }
    if flags:
        facts["processor flags"] = " ".join(f for f in _CPU_FLAGS if f in flags) or "none of note"
    return facts


def _torch() -> dict[str, str]:
    facts = {
        "build": f"{torch.__version__}, {f'CUDA {torch.version.cuda}' if _has_cuda() else 'CPU'}",
        "threads": f"{torch.get_num_threads()} in operators, {torch.get_num_interop_threads()} "
        f"between them",
        "cpu capability": torch.backends.cpu.get_cpu_capability(),
        "oneDNN": "yes" if torch.backends.mkldnn.is_available() else "no",  # type: ignore[no-untyped-call]
        "GPU": "none" if not torch.cuda.is_available() else "",
    }
    if torch.cuda.is_available():
        facts["GPU"] = "; ".join(map(_gpu, range(torch.cuda.device_count())))
        facts["bf16 on GPU"] = "yes" if torch.cuda.is_bf16_supported() else "no"
    return facts


def _has_cuda() -> bool:
    return torch.version.cuda is not None


def _gpu(number: int) -> str:
    known = torch.cuda.get_device_properties(number)
    return f"{known.name}, {_gib(known.total_memory)}, capability {known.major}.{known.minor}"


def _try_import(package: str) -> str:
    """Return the version of a package and whether a fresh process can import it."""
    version = _version(package)
    if version == "not installed":
        return version
    command = [sys.executable, "-c", f"import {package}"]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=_IMPORT_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{version}, import fails: {error}"
    if done.returncode == 0:
        return f"{version}, imports"
    lines = done.stderr.decode(errors="backslashreplace").strip().splitlines()
    if done.returncode < 0:
        return f"{version}, import fails: killed by signal {-done.returncode}"
    return f"{version}, import fails: {lines[-1] if lines else f'exit {done.returncode}'}"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _cpu_info() -> dict[str, str]:
    """Return what Linux says about the first processor; nothing elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    lines = text.partition("\n\n")[0].splitlines()
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


def usable_cores() -> int:
    """Return how many processor cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _pages(name: str) -> int:
    """Return a number of memory pages, in bytes; 0 where the system does not tell."""
    try:
        return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def _memory_limit() -> int:
    """Return the limit of the control group (containers, batch systems) in bytes; 0 for none."""
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limit = int(Path(file).read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
        return limit if limit < _NO_LIMIT else 0
    return 0


def usable_memory() -> int:
    """Return the bytes of memory that this process may hope for; 0 if that cannot be told."""
    total, limit = _pages("SC_PHYS_PAGES"), _memory_limit()
    return min(total, limit) if limit else total


def free_memory(device: torch.device) -> int:
    """Return the bytes that are free on a device; 0 if that cannot be told.

    On a GPU what PyTorch holds in reserve counts as free; on a CPU what the system would give up.
    """
    if device.type == "cuda":
        reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + reserve
    free = _fact(Path("/proc/meminfo"), "MemAvailable:") * 1024 or usable_memory()
    limit, group = _memory_limit(), Path("/sys/fs/cgroup")
    if not limit:
        return free
    used = _fact(group / "memory.stat", "anon") + _fact(group / "memory.stat", "shmem")
    return max(0, min(free, limit - used))


def _fact(file: Path, name: str) -> int:
    """Return the number behind a name in a file of such lines; 0 if it is not there."""
    try:
        lines = file.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.split()[:1] == [name]), 0)


def _gib(number: int) -> str:
    return f"{number / 2**30:.1f} GiB" if number > 0 else "unknown"


def _commit() -> str:
    """Return the commit of the source tree this runs from; empty if installed without one."""
    source = Path(__file__)
    try:
        _git(source.parent, "ls-files", "--error-unmatch", source.name)  # not a tree around it
        return _git(source.parent, "describe", "--always", "--dirty", "--abbrev=40")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
