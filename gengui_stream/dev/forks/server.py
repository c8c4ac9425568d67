"""The fork server: a process with one thread and all imports, which forks for each request."""

import os
import select
import socket
import tempfile

from gengui_stream.dev.forks.messages import MESSAGE_BYTES, ForkRequest, ProcessState
from gengui_stream.dev.processes.prctl import die_with_parent, name_process


def forked(control: socket.socket) -> ForkRequest | None:
    """Returns in every forked process with its request, once the process is set up except for its
    arguments; and in the server itself with None, when the socket is closed."""
    server, processes = os.getpid(), dict[int, int]()
    while True:
        ready, _, _ = select.select([control.fileno(), *processes], [], [])
        for descriptor in processes.keys() & set(ready):
            _report_end(control, processes.pop(descriptor), descriptor)
        if control.fileno() not in ready:
            continue
        message = control.recv(MESSAGE_BYTES)
        if not message:
            return None
        pid = os.fork()
        if not pid:
            break
        processes[os.pidfd_open(pid)] = pid
        control.send(ProcessState(pid).encode())
    for descriptor in processes:
        os.close(descriptor)
    control.close()
    return _become(ForkRequest.decode(message), server)


def _report_end(control: socket.socket, pid: int, descriptor: int) -> None:
    os.close(descriptor)
    _, status = os.waitpid(pid, 0)
    control.send(ProcessState(pid, os.waitstatus_to_exitcode(status)).encode())


def _become(request: ForkRequest, server: int) -> ForkRequest:
    """Sets up the process as a new process for the request would be."""
    die_with_parent()
    if os.getppid() != server:
        os._exit(1)  # the parent ended before prctl was called
    os.setsid()
    name_process(request.name)
    log = os.open(request.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for standard in (1, 2):
        os.dup2(log, standard)
    os.close(log)
    if request.cwd is not None:
        os.chdir(request.cwd)
    os.environ.clear()
    os.environ.update(request.environ)
    tempfile.tempdir = None  # chosen again, by this environment
    return request
