"""What a process gives up before it runs a program: privileges, and system calls.

`give_up_privileges` drops every capability for good (no_new_privs, and the zygote's
bounding set is empty). `SystemCallFilter` denies what no honest program needs and what
reaches around namespaces and limits: kernel keyrings, ptrace, new namespaces and mounts,
BPF, io_uring, memory that belongs to no process (System V IPC, memfd, what anonymous shared
mappings and pipes hold on to), sockets of families that have no network namespace (vsock). It is
a deny list on top of the namespaces, not the wall itself; calls newer than it do not exist.
"""

import ctypes
import errno
import os
import platform
import signal
import struct

libc = ctypes.CDLL(None, use_errno=True)

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_SECCOMP = 22
_PR_CAPBSET_DROP = 24
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_SECCOMP_MODE_FILTER = 2
_LINUX_CAPABILITY_VERSION_3 = 0x20080522
_LAST_POSSIBLE_CAPABILITY = 63

MACHINE = "x86_64"
_AUDIT_ARCH = 0xC000003E
# System call numbers of x86_64 (asm/unistd_64.h).
_CLONE, _CLONE3, _SOCKET, _PRLIMIT, _MMAP, _SETSOCKOPT = 56, 435, 41, 302, 9, 54
_X32_BIT = 0x40000000
_LAST_KNOWN = 462  # mseal, Linux 6.10
_DENIED = {
    "shmget": 29,
    "semget": 64,
    "msgget": 68,
    "ptrace": 101,
    "syslog": 103,
    "vhangup": 153,
    "modify_ldt": 154,
    "pivot_root": 155,
    "adjtimex": 159,
    "chroot": 161,
    "acct": 163,
    "settimeofday": 164,
    "mount": 165,
    "umount2": 166,
    "swapon": 167,
    "swapoff": 168,
    "reboot": 169,
    "sethostname": 170,
    "setdomainname": 171,
    "iopl": 172,
    "ioperm": 173,
    "init_module": 175,
    "delete_module": 176,
    "quotactl": 179,
    "setxattr": 188,  # an access list of 64 KiB counts as no page of the scratch folder
    "lsetxattr": 189,
    "fsetxattr": 190,
    "io_setup": 206,  # the number of its contexts is limited for the whole machine
    "lookup_dcookie": 212,
    "clock_settime": 227,
    "mq_open": 240,
    "kexec_load": 246,
    "add_key": 248,
    "request_key": 249,
    "keyctl": 250,
    "unshare": 272,
    "vmsplice": 278,  # one page in a pipe keeps the 2 MiB around it, unmapped and uncounted
    "perf_event_open": 298,
    "fanotify_init": 300,
    "name_to_handle_at": 303,
    "open_by_handle_at": 304,
    "clock_adjtime": 305,
    "setns": 308,
    "process_vm_readv": 310,
    "process_vm_writev": 311,
    "kcmp": 312,
    "finit_module": 313,
    "memfd_create": 319,
    "kexec_file_load": 320,
    "bpf": 321,
    "userfaultfd": 323,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "memfd_secret": 447,
}
_SOCKET_FAMILIES = (1, 2, 10)  # AF_UNIX, AF_INET, AF_INET6: all inside the network namespace
# CLONE_NEW{TIME,NS,CGROUP,UTS,IPC,USER,PID,NET}
_NEW_NAMESPACES = 0x80 | 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x70000000
# A sibling of the program would be a child of the zygote, which knows nothing of it: no init ends
# before all who were in its namespace have been waited for.
_CLONE_PARENT = 0x8000
_MAP_SHARED, _MAP_ANONYMOUS = 1, 0x20
# An anonymous shared mapping keeps all its pages as long as one is mapped, and no limit of a
# process counts the others.
_SHARED_BYTES = 4096
# Hints, which are taken and change nothing. SO_SNDBUF and SO_RCVBUF: 8 MiB a socket, which some
# kernels allow, would be gigabytes a program.
_SOL_SOCKET, _BUFFER_SIZES = 1, (7, 8)
# TCP_USER_TIMEOUT: the kernel keeps a socket that drops all answers for weeks after its program.
_SOL_TCP, _TCP_USER_TIMEOUT = 6, 18

# Classic BPF (linux/bpf_common.h) on struct seccomp_data (linux/seccomp.h).
_LOAD, _EQUAL, _MORE, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x45, 0x06
_NUMBER_OFFSET, _ARCH_OFFSET = 0, 4
# Lower halves of the arguments; the upper one is four bytes further.
_ARGUMENTS = tuple(range(16, 64, 8))
_UPPER_HALF = 4
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000


def check(result: int, call: str) -> int:
    """`result` of a C call, or the `OSError` that it stands for."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
    return result


def drop_bounding_set() -> None:
    """No program that this process or its children execute has a capability."""
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    for capability in range(_LAST_POSSIBLE_CAPABILITY + 1):
        # Fails beyond the kernel's last capability, and where it was not held anyway.
        libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)


def give_up_privileges() -> None:
    """Drops all capabilities, in a way that no later exec can undo."""
    check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(NO_NEW_PRIVS)")
    header = struct.pack("Ii", _LINUX_CAPABILITY_VERSION_3, 0)
    check(libc.capset(header, bytes(24)), "capset")
    hide()


def end_with_parent() -> None:
    """Whoever kills this process's parent kills it too."""
    check(libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl(PDEATHSIG)")


def hide() -> None:
    """This process's files in /proc belong to the namespace's root, and nobody can attach to it."""
    check(libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl(DUMPABLE)")


def show() -> None:
    """Undoes `hide`, as the kernel does for a process that executes another program."""
    check(libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0), "prctl(DUMPABLE)")


class SystemCallFilter:
    """The deny list, made once and installed by each room's process."""

    def __init__(self) -> None:
        """Raises:
        OSError: there is no table for this machine's system calls.
        """
        if platform.machine() != MACHINE:
            raise OSError(errno.ENOSYS, f"no system call table for {platform.machine()}")
        code = _filter_program()
        self._instructions = ctypes.create_string_buffer(code, len(code))
        self._program = struct.pack(
            "HxxxxxxP", len(code) // 8, ctypes.addressof(self._instructions)
        )

    def install(self) -> None:
        """For this process and everything that it starts.

        Raises:
          OSError: the kernel has no seccomp filters.
        """
        result = libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, self._program, 0, 0)
        check(result, "prctl(SECCOMP)")


def _filter_program() -> bytes:
    """The filter: denied calls give EPERM, new ones and `clone3` (unreadable flags) ENOSYS.

    Large anonymous shared mappings give ENOMEM, hints about sockets success.
    """
    denied = sorted(_DENIED.values())
    deny = _RETURN, 0, 0, _ERRNO | errno.EPERM
    # Offsets of a jump count from the instruction after it.
    program: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, _ARCH_OFFSET),
        (_EQUAL, 1, 0, _AUDIT_ARCH),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER_OFFSET),
        (_AT_LEAST, 0, 1, _X32_BIT),
        deny,
        (_AT_LEAST, 1, 0, _LAST_KNOWN + 1),
        (_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
        (_EQUAL, 0, 4, _CLONE),
        (_LOAD, 0, 0, _ARGUMENTS[0]),
        (_ANY_BIT, 0, 1, _NEW_NAMESPACES | _CLONE_PARENT),
        deny,
        (_RETURN, 0, 0, _ALLOW),
        # The limits of others, such as init.
        (_EQUAL, 0, 4, _PRLIMIT),
        (_LOAD, 0, 0, _ARGUMENTS[0]),
        (_EQUAL, 1, 0, 0),
        deny,
        (_RETURN, 0, 0, _ALLOW),
        (_EQUAL, 0, 9, _MMAP),
        (_LOAD, 0, 0, _ARGUMENTS[3]),
        (_ANY_BIT, 0, 6, _MAP_ANONYMOUS),
        (_ANY_BIT, 0, 5, _MAP_SHARED),
        (_LOAD, 0, 0, _ARGUMENTS[1] + _UPPER_HALF),
        (_MORE, 2, 0, 0),
        (_LOAD, 0, 0, _ARGUMENTS[1]),
        (_MORE, 0, 1, _SHARED_BYTES),
        (_RETURN, 0, 0, _ERRNO | errno.ENOMEM),
        (_RETURN, 0, 0, _ALLOW),
        (_EQUAL, 0, 11, _SETSOCKOPT),
        (_LOAD, 0, 0, _ARGUMENTS[1]),
        (_EQUAL, 0, 4, _SOL_SOCKET),
        (_LOAD, 0, 0, _ARGUMENTS[2]),
        *((_EQUAL, 6 - i, 0, option) for i, option in enumerate(_BUFFER_SIZES)),
        (_RETURN, 0, 0, _ALLOW),
        (_EQUAL, 0, 2, _SOL_TCP),
        (_LOAD, 0, 0, _ARGUMENTS[2]),
        (_EQUAL, 1, 0, _TCP_USER_TIMEOUT),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERRNO),
        (_EQUAL, 0, len(_SOCKET_FAMILIES) + 3, _SOCKET),
        (_LOAD, 0, 0, _ARGUMENTS[0]),
        *(
            (_EQUAL, len(_SOCKET_FAMILIES) - i, 0, family)
            for i, family in enumerate(_SOCKET_FAMILIES)
        ),
        (_RETURN, 0, 0, _ERRNO | errno.EAFNOSUPPORT),
        (_RETURN, 0, 0, _ALLOW),
        *((_EQUAL, len(denied) - i, 0, number) for i, number in enumerate(denied)),
        (_RETURN, 0, 0, _ALLOW),
        deny,
    ]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)
