"""The room that programs run in: Linux namespaces, and a root with nothing of the host's.

`enter_user_namespace` and `enter_namespaces` cut the zygote off; `build_root` gives it a
root of its own, read-only, that holds the Python installation, the system's libraries,
five device files, the name `localhost` and an empty `/tmp`. Each program gets its own pid
namespace (`Inits`), `/tmp` and `/proc` (`private_mounts`). Works as root and as an ordinary user,
who may make user namespaces on most machines; needs Linux 5.14, whose process limit counts per
namespace.
Next: `zygote` calls these in order.
"""

import contextlib
import ctypes
import mmap
import os
import signal
import socket
import stat
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

from opencoder_jax.sandbox.privileges import check, libc

HOST_NAME = "sandbox"
# Programs run under this user id, which is no root inside the namespace.
PROGRAM_UID = 1000
# Who that is outside when root runs the sandbox. Not root: the kernel counts no processes of root.
_OUTSIDE_UID = 65534

# Where programs find the caller's packages.
PACKAGES = "/packages"
# Debian finds awk, cc and the like through links in /etc/alternatives.
_SYSTEM_PATHS = (
    *("/usr", "/lib", "/lib64", "/bin"),
    *("/etc/ld.so.cache", "/etc/alternatives", "/etc/fonts"),
)
# As zero reads full, which nobody can map: a shared mapping of zero is memory without a limit.
_DEVICES = {name: name for name in ("null", "full", "random", "urandom")} | {"zero": "full"}
_DEVICE_LINKS = {
    "shm": "/tmp",
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}

# What names of machines there are: the program's own.
_NAMES = {
    "hosts": f"127.0.0.1 localhost {HOST_NAME}\n::1 localhost\n",
    "nsswitch.conf": "hosts: files\n",
}

_NETWORK_SETTINGS = {
    # No port waits for the packets of a program that has ended, and its sockets not for long.
    "tcp_max_tw_buckets": "0",
    "tcp_orphan_retries": "1",
    # Smallest, first and largest buffer of a socket: what waits in them nobody else counts.
    "tcp_rmem": "4096 65536 212992",
    "tcp_wmem": "4096 65536 212992",
}

# linux/sockios.h, linux/if.h
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1
# linux/mount.h
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT = 1, 2, 4, 32
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_MNT_DETACH = 2
_SYS_PIVOT_ROOT, _SYS_MOUNT_SETATTR = 155, 442
_AT_RECURSIVE = 0x8000
_CLONE_VM, _CLONE_FS, _CLONE_FILES = 0x100, 0x200, 0x400
_INIT_STACK_BYTES = 64 << 10
_READ_ONLY_NOSUID_NODEV = 1 | 2 | 4


def enter_user_namespace() -> int:
    """Moves this process into a user namespace of its own.

    Root maps itself, to set things up, and a second id for the programs; anyone else
    maps the one id that the kernel lets them.

    Returns:
      How many more processes of this sandbox run under the programs' user id: they
      count towards the process limit.

    Raises:
      OSError: the machine does not let this user make namespaces.
    """
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0:
        _unshare_user()
        _write_maps("self", f"{PROGRAM_UID} {uid} 1", f"{PROGRAM_UID} {gid} 1", groups=False)
        return 2
    # Only a process outside may map more than one id.
    pid = os.getpid()
    ready_read, ready_write = os.pipe()
    mapper = os.fork()
    if mapper == 0:
        status = 1
        with contextlib.suppress(OSError):
            os.close(ready_write)
            os.read(ready_read, 1)
            ids = f"0 0 1\n{PROGRAM_UID} {_OUTSIDE_UID} 1"
            _write_maps(str(pid), ids, ids, groups=True)
            status = 0
        os._exit(status)
    os.close(ready_read)
    try:
        _unshare_user()
    finally:
        os.close(ready_write)
        status = os.waitpid(mapper, 0)[1]
    if status != 0:
        raise PermissionError("this root may not map user ids into a namespace")
    return 0


def _unshare_user() -> None:
    try:
        os.unshare(os.CLONE_NEWUSER)
    except OSError as error:
        raise OSError(
            f"user namespaces are forbidden or used up ({error.strerror}; see "
            "/proc/sys/user/max_user_namespaces, or the container's seccomp profile)"
        ) from error


def _write_maps(pid: str, uids: str, gids: str, *, groups: bool) -> None:
    if not groups:
        # Without it an ordinary user may not map a group id.
        Path(f"/proc/{pid}/setgroups").write_text("deny")
    Path(f"/proc/{pid}/uid_map").write_text(uids)
    Path(f"/proc/{pid}/gid_map").write_text(gids)


def enter_namespaces() -> None:
    """Own mounts, network (loopback alone), host name, IPC; the next fork is pid 1."""
    os.unshare(
        os.CLONE_NEWNS | os.CLONE_NEWPID | os.CLONE_NEWNET | os.CLONE_NEWIPC | os.CLONE_NEWUTS
    )
    # They count for the host's user too, who may have 128 by default.
    with contextlib.suppress(OSError):
        Path("/proc/sys/user/max_inotify_instances").write_text("16")
    _start_loopback()


class Network:
    """The programs' loopback interface: one of its own for each would cost 3 ms."""

    def __init__(self) -> None:
        # Preloaded modules may have some.
        self._own_sockets = _sockets()

    def renew_if_used(self) -> bool:
        """Whether the last program left sockets behind, so that there is a new interface now.

        That of one that ignores all answers waits for them for a minute, those that lie in each
        other's queues for the kernel's collector: ports and names would be taken.
        """
        if _sockets() == self._own_sockets:
            return False
        os.unshare(os.CLONE_NEWNET)
        _start_loopback()
        self._own_sockets = _sockets()
        return True


def _sockets() -> int:
    """How many there are in this network namespace, waiting ones included; 0 without /proc."""
    with contextlib.suppress(OSError), open("/proc/self/net/sockstat") as file:
        return int(file.readline().split()[2])
    return 0


def _start_loopback() -> None:
    # Where it cannot be done programs have no localhost, which isolates no worse.
    with contextlib.suppress(OSError):
        _loopback_up()
        for name, value in _NETWORK_SETTINGS.items():
            Path(f"/proc/sys/net/ipv4/{name}").write_text(value)


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH22x", b"lo", _IFF_UP)
        check(libc.ioctl(any_socket.fileno(), _SIOCSIFFLAGS, request), "loopback")


def build_root(further_paths: Sequence[str] = (), packages: str | None = None) -> None:
    """Replaces the file system by a read-only one of links and read-only binds.

    Args:
      further_paths: what programs see beyond Python's installation and the system's.
      packages: a folder that they see as `PACKAGES`, as its own place may be in `/tmp`.

    Raises:
      OSError: a mount was refused.
    """
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE)
    visible = {path: path for path in _visible_paths(further_paths)}
    if packages:
        visible[PACKAGES] = packages
    sources = {target: os.open(path, os.O_PATH) for target, path in visible.items()}
    devices = {name: os.open(f"/dev/{host}", os.O_PATH) for name, host in _DEVICES.items()}
    # Any folder that is everywhere will do: sources beneath it were opened before.
    root = "/tmp"
    _mount("sandbox", root, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=0755,size=1m")
    for name in ("proc", "tmp", "dev"):
        os.mkdir(f"{root}/{name}")
    for target, source in sources.items():
        _bind(source, root + target)
        _make_read_only(root + target)
    for name, source in devices.items():
        _bind(source, f"{root}/dev/{name}")
    for name, target in _DEVICE_LINKS.items():
        os.symlink(target, f"{root}/dev/{name}")
    os.makedirs(f"{root}/etc", exist_ok=True)
    for name, text in _NAMES.items():
        Path(f"{root}/etc/{name}").write_text(text)
        os.chmod(f"{root}/etc/{name}", 0o644)
    # While the old one is still there: the kernel gives a new /proc only to who sees one.
    _mount_proc(f"{root}/proc")
    for source in (*sources.values(), *devices.values()):
        os.close(source)
    os.chdir(root)
    # The old root lands on top of the new one, then goes (pivot_root(2), "pivot_root(".", ".")").
    check(libc.syscall(_SYS_PIVOT_ROOT, b".", b"."), "pivot_root")
    check(libc.umount2(b".", _MNT_DETACH), "umount")
    os.chdir("/")
    _mount("none", "/", "", _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)
    # For what packages write when they are imported; programs get one of their own on top.
    _mount("preload", "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=0700,size=64m")


class Inits:
    """Starts the first processes of new pid namespaces, which do nothing at all.

    When such an init ends, the kernel ends every process of its namespace. It is asleep in
    `pause` in the memory of the process that started it: a fork would copy that memory's
    tables and, when it ends, give them back.
    """

    def __init__(self) -> None:
        # None of them ever returns to what stands here, so all may have the same. Not shared
        # with forks, which could lead the next one astray.
        self._stack = mmap.mmap(-1, _INIT_STACK_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        top = ctypes.addressof(ctypes.c_char.from_buffer(self._stack)) + _INIT_STACK_BYTES
        self._top = ctypes.c_void_p(top)
        self._pause = ctypes.cast(libc.pause, ctypes.c_void_p)

    def start(self) -> int:
        """The process id of a new one; forks of this process are in its namespace from now on.

        No child of this process may end meanwhile: nobody would learn how.

        Raises:
          OSError: there are too many namespaces or processes.
        """
        os.unshare(os.CLONE_NEWPID)
        # This process's handlers must not run in init, and what it adopts is to vanish when
        # it ends: the kernel waits for children of who ignores them.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        handler = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        try:
            flags = _CLONE_VM | _CLONE_FS | _CLONE_FILES | signal.SIGCHLD
            return check(libc.clone(self._pause, self._top, flags, None), "clone")
        finally:
            signal.signal(signal.SIGCHLD, handler)
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def private_mounts(scratch_bytes: int, owner: int) -> None:
    """For one program: an empty `/tmp` of that size, and a `/proc` of its own processes."""
    # IPC is the zygote's: the system call filter lets no program make any.
    os.unshare(os.CLONE_NEWNS)
    _mount_proc("/proc")
    options = f"size={scratch_bytes},nr_inodes=10k,mode=0700,uid={owner},gid={owner}"
    _mount("scratch", "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, options)


def _visible_paths(further: Sequence[str]) -> list[str]:
    """What programs may read: Python's installation, the system's programs and libraries."""
    wanted = [*_SYSTEM_PATHS, os.path.realpath(sys.base_prefix), *further]
    present = sorted({path for path in wanted if os.path.exists(path)})
    return [
        path
        for path in present
        if not any(path.startswith(other + "/") for other in present) and path != "/"
    ]


def _mount_proc(target: str) -> None:
    # Some containers forbid it; programs then have an empty /proc, which isolates no worse.
    with contextlib.suppress(PermissionError):
        _mount("proc", target, "proc", _MS_NOSUID | _MS_NODEV)


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    result = libc.mount(
        source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()
    )
    check(result, f"mount {kind or source} on {target}")


def _bind(source: int, target: str) -> None:
    is_folder = stat.S_ISDIR(os.fstat(source).st_mode)
    os.makedirs(target if is_folder else os.path.dirname(target), exist_ok=True)
    if not is_folder:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))
    _mount(f"/proc/self/fd/{source}", target, "", _MS_BIND | _MS_REC)


def _make_read_only(target: str) -> None:
    attributes = struct.pack("QQQQ", _READ_ONLY_NOSUID_NODEV, 0, 0, 0)
    result = libc.syscall(
        _SYS_MOUNT_SETATTR, -100, target.encode(), _AT_RECURSIVE, attributes, len(attributes)
    )
    check(result, f"mount_setattr {target}")
