"""The bundle and the machine: the libraries, environment variables and programs that a command finds."""

import ctypes
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from command import Failed, stop, still_runs_after

BUNDLE = Path(__file__).resolve().parent
IMAGES = BUNDLE / "images.tar.gz"

# Peak dense bfloat16 TFLOP/s (NVIDIA's data sheets), to compute the fraction that a training reaches. The first entry
# that matches all its words in the name of the GPU counts.
PEAKS = {"H100 PCIe": 756, "H100 NVL": 835, "H100": 989, "H200": 989, "A100": 312, "L40S": 362, "B200": 2250}

# mpirun may run as root in a container and uses only this machine. So does NCCL: it treats ranks on one GPU as
# different hosts and connects them through sockets. It uses few CTAs because the ranks share the GPU's multiprocessors.
LAUNCHER = {
    "OPAL_PREFIX": str(BUNDLE / "mpi"),
    "PMIX_INSTALL_PREFIX": str(BUNDLE / "mpi" / "pmix"),
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_btl": "self,vader,tcp",
    "OMPI_MCA_pml": "ob1",
    "OMPI_MCA_plm": "isolated",
    "OMPI_MCA_btl_base_warn_component_unused": "0",
    "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
    "OMPI_MCA_hwloc_base_binding_policy": "none",
    "PMIX_MCA_gds": "hash",
    "PMIX_MCA_pcompress_base_silence_warning": "1",
    "OMP_WAIT_POLICY": "passive",
    "NCCL_SOCKET_IFNAME": "lo",
    "NCCL_SOCKET_FAMILY": "AF_INET",
    "NCCL_IB_DISABLE": "1",
    "NCCL_NVLS_ENABLE": "0",
    "NCCL_MNNVL_ENABLE": "0",
    "NCCL_RAS_ENABLE": "0",
    "NCCL_MAX_CTAS": "2",
    "NCCL_NET_PLUGIN": "none",
    "NCCL_DEBUG": "WARN",
}


def peak(gpu):
    """Peak TFLOP/s of a GPU by its name. None for an unknown one."""
    return next((tflops for name, tflops in PEAKS.items() if all(word in gpu for word in name.split())), None)


def foreign_environment():
    """The environment of programs outside the bundle, without the variables of a launcher that started this check."""
    launchers = ("OMPI_", "PMIX_", "PMI_", "SLURM_")
    return {name: value for name, value in os.environ.items() if not name.startswith(launchers)}


def own_environment(torch_libraries):
    """The environment of the bundle's programs."""
    outer, lib = foreign_environment(), BUNDLE / "lib"
    libraries = [lib, *spare_libraries(lib / "spare"), torch_libraries, outer.get("LD_LIBRARY_PATH", "")]
    path = f"{BUNDLE / 'mpi' / 'bin'}:{BUNDLE / 'bin'}:{outer.get('PATH', '')}"
    return {**outer, **LAUNCHER, "LD_LIBRARY_PATH": ":".join(map(str, filter(None, libraries))), "PATH": path}


def spare_libraries(folder):
    """The folder with copies of common libraries, if this machine lacks one of them."""

    def missing(file):
        try:
            ctypes.CDLL(file.name)
            return False
        except OSError:
            return True

    return [folder] if any(missing(file) for file in folder.glob("*.so*")) else []


def foreign_python(work):
    """A script that runs this Python without the libraries that the bundle's programs need."""
    path = os.environ.get("LD_LIBRARY_PATH")
    libraries = f"export LD_LIBRARY_PATH={shlex.quote(path)}" if path else "unset LD_LIBRARY_PATH"
    script = work / "python"
    script.write_text(f'#!/bin/sh\n{libraries}\nexec {shlex.quote(sys.executable)} "$@"\n')
    script.chmod(0o755)
    return script


def loopback_works():
    """True if a process can connect to another one on this machine, as the ranks do."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=5).close()
        return True
    except OSError:
        return False


# --- NVIDIA's Multi-Process Service -----------------------------------------------------------------------------------

MPS = "nvidia-cuda-mps-control"


@contextmanager
def sharing(check, trial):
    """A context in which processes share the GPU. They run at the same time through MPS if the machine has it and the
    command `trial` works under it, otherwise in turns. Yields True for MPS. The report says which of the two it is."""
    if check.no_mps is None and not shutil.which(MPS):
        check.no_mps = f"there is no {MPS} on PATH"
    if check.no_mps is not None:
        yield in_turns(check)
        return
    folder = check.work / "mps"
    shutil.rmtree(folder, ignore_errors=True)
    names = {"CUDA_MPS_PIPE_DIRECTORY": folder / "pipe", "CUDA_MPS_LOG_DIRECTORY": folder / "log"}
    for path in names.values():
        path.mkdir(parents=True)
    names = {name: str(path) for name, path in names.items()}
    daemon = None
    check.own.update(names)
    try:
        with open(folder / "daemon.log", "wb") as log:
            daemon = subprocess.Popen(
                [MPS, "-f"],
                env={**check.foreign, **names},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if not check.mps_proven:
            check.no_mps = why_not(check, names, trial, daemon)
            check.mps_proven = check.no_mps is None
        if check.mps_proven:
            check.say("The ranks use the GPU at the same time, through MPS.\n")
            yield True
    finally:
        for name in names:
            check.own.pop(name, None)
        ask(check, names, "quit")
        if daemon:
            still_runs_after(daemon, 5)
            stop(daemon)
    if not check.mps_proven:
        yield in_turns(check)


def in_turns(check):
    check.say(f"The ranks take turns on the GPU, in time slices: no MPS ({check.no_mps}).\n")
    return False


def why_not(check, names, trial, daemon):
    """The reason why MPS does not work, or None if it works. A program that finds no daemon runs without MPS, so the
    daemon's list of servers is checked as well."""
    end = time.monotonic() + 5
    while not (Path(names["CUDA_MPS_PIPE_DIRECTORY"]) / "control").exists() and time.monotonic() < end:
        if daemon.poll() is not None:
            return f"{MPS} ended with code {daemon.returncode}"
        time.sleep(0.1)
    try:
        check.must(trial, 60)
    except Failed:
        return "`regun doctor` failed under it, see commands.log"
    return None if ask(check, names, "get_server_list").split() else "its daemon started no server"


def ask(check, names, question):
    try:
        result = subprocess.run(
            [MPS], input=question + "\n", env={**check.foreign, **names}, capture_output=True, text=True, timeout=15
        )
        return result.stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
