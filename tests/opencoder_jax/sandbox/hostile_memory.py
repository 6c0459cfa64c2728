"""Programs that try to use up memory, or to hold some that no limit counts."""

from tests.opencoder_jax.sandbox.hostile import Hostile, attempts, ended, refused

MEMORY: list[Hostile] = [
    ended("a growing list", "x = [0]\nwhile True: x += x", "memory", "needed more than"),
    ended(
        "mappings",
        """
        import mmap
        blocks = []
        while True:
            blocks.append(mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE))
            blocks[-1].write(bytes(1 << 20))
        """,
        "failed",
        "Cannot allocate memory",
    ),
    ended(
        "mappings over several processes",
        """
        import mmap, os, time
        for _ in range(6):
            if os.fork() == 0:
                x = mmap.mmap(-1, 100 << 20, flags=mmap.MAP_PRIVATE)
                x.write(bytes(100 << 20))
                time.sleep(60)
        time.sleep(60)
        """,
        "memory",
        "held more than",
    ),
    ended(
        "children of threads",
        """
        import os, threading, time, warnings
        warnings.simplefilter("ignore")
        def hoard():
            if os.fork() == 0:
                os.fork()
                block = bytearray(90 << 20)
                time.sleep(60)
            time.sleep(60)
        for _ in range(2):
            threading.Thread(target=hoard).start()
        """,
        "memory",
        "held more than",
    ),
    ended(
        "processes whose first thread has ended",
        """
        import ctypes, os, threading, time
        libc = ctypes.CDLL(None)
        exit = 60
        def hoard():
            time.sleep(0.2)
            x = bytearray(150 << 20)
            time.sleep(60)
        for _ in range(3):
            if os.fork() == 0:
                threading.Thread(target=hoard).start()
                libc.syscall(exit, 0)
        time.sleep(60)
        """,
        "memory",
        "held more than",
    ),
    ended(
        "shared mappings whose pages nobody maps any more",
        """
        #include <fcntl.h>
        #include <stdio.h>
        #include <string.h>
        #include <sys/mman.h>
        static void *shared(size_t size, int flags, int fd) {
            char *p = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED | flags, fd, 0);
            return p == MAP_FAILED ? 0 : p;
        }
        int main() {
            char *one = shared(4096, MAP_ANONYMOUS, -1);
            if (!one || shared(4096, 0, open("/dev/zero", O_RDWR))) return 1;
            for (int i = 0; i < 100; i++) {
                char *p = shared(100 << 20, MAP_ANONYMOUS, -1);
                if (!p) { perror("mmap"); return 2; }
                memset(p, 1, 100 << 20);
                munmap(p + 4096, (100 << 20) - 4096);
            }
            puts("ESCAPED");
            return 0;
        }
        """,
        "failed",
        "mmap: Cannot allocate memory",
        "c",
    ),
    ended(
        "huge pages that only a pipe holds",
        """
        #define _GNU_SOURCE
        #include <fcntl.h>
        #include <stdint.h>
        #include <stdio.h>
        #include <string.h>
        #include <sys/mman.h>
        #include <sys/uio.h>
        #include <unistd.h>
        int main() {
            int ends[2];
            if (pipe(ends)) return 2;
            for (int i = 0; i < 16; i++) {
                char *p = mmap(0, 4 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                               -1, 0);
                if (p == MAP_FAILED) return 2;
                char *huge = (char *)(((uintptr_t)p + (2 << 20) - 1) & ~(uintptr_t)((2 << 20) - 1));
                madvise(huge, 2 << 20, MADV_HUGEPAGE);
                memset(huge, 1, 2 << 20);
                struct iovec piece = {huge, 4096};
                if (vmsplice(ends[1], &piece, 1, 0) < 0) { perror("vmsplice"); return 1; }
                munmap(p, 4 << 20);
            }
            puts("ESCAPED");
            return 0;
        }
        """,
        "failed",
        "vmsplice: Operation not permitted",
        "c",
    ),
    ended(
        "page tables of address space that costs nothing",
        """
        package main

        import (
            "syscall"
            "unsafe"
        )

        func main() {
            const size, step = 400 << 30, 2 << 20
            flags := uintptr(syscall.MAP_PRIVATE | syscall.MAP_ANON | syscall.MAP_NORESERVE)
            none := ^uintptr(0)
            start, _, fault := syscall.Syscall6(syscall.SYS_MMAP, 0, size, 1, flags, none, 0)
            if fault != 0 {
                panic(fault)
            }
            sum := byte(0)
            for offset := uintptr(0); offset < size; offset += step {
                sum += *(*byte)(unsafe.Pointer(start + offset))
            }
            println("ESCAPED", sum)
        }
        """,
        "memory",
        "held more than",
        "go",
    ),
    ended(
        "access lists of files",
        """
        import os, struct
        def entry(tag, who=2 ** 32 - 1):
            return struct.pack("<HHI", tag, 7, who)
        long = b"".join(entry(2, os.getuid()) for _ in range(8000))
        text = struct.pack("<I", 2) + entry(1) + long + entry(4) + entry(16) + entry(32)
        os.mkdir("folder")
        os.setxattr("folder", "system.posix_acl_access", text)
        print("ESCAPED")
        """,
        "failed",
        "Operation not permitted",
    ),
    refused(
        "socket buffers of any size, and sockets that the kernel keeps for weeks",
        """
        import socket
        for pair in (socket.socketpair(), (socket.socket(), socket.socket())):
            for kind in (socket.SO_SNDBUF, socket.SO_RCVBUF):
                before = pair[0].getsockopt(socket.SOL_SOCKET, kind)
                pair[0].setsockopt(socket.SOL_SOCKET, kind, 1 << 30)
                assert pair[0].getsockopt(socket.SOL_SOCKET, kind) == before <= 212992
        tcp = socket.socket()
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 2 ** 31 - 1)
        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0
        # Others are set.
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        """,
    ),
    attempts(
        "memory that no process owns",
        """
        import ctypes, os
        shmget, semget, msgget, memfd_create, memfd_secret, mq_open = 29, 64, 68, 319, 447, 240
        attempt("shmget", lambda: call(shmget, 0, 1 << 20, 0o1600))
        attempt("semget", lambda: call(semget, 0, 32000, 0o1600))
        attempt("msgget", lambda: call(msgget, 0, 0o1600))
        attempt("memfd", lambda: os.memfd_create("x"))
        attempt("memfd_secret", lambda: call(memfd_secret, 0))
        attempt("mq_open", lambda: call(mq_open, b"x", 0o100 | 2, 0o600, 0))
        """,
    ),
    ended(
        "files in /dev/shm",
        "i = 0\nwhile True:\n    open(f'/dev/shm/{i}', 'wb').write(bytes(500_000))\n    i += 1",
        "failed",
        "No space left on device",
    ),
    ended(
        "deep recursion in Python",
        "def f(): f()\nf()",
        "failed",
        "RecursionError",
    ),
    ended(
        "deep recursion in C",
        """
        int f(int n) { volatile char block[4096]; block[0] = n; return f(n + 1) + block[0]; }
        int main() { return f(0); }
        """,
        "killed",
        "SIGSEGV",
        "c",
    ),
    ended(
        "a stack of any size",
        """
        import sys, threading
        threading.stack_size(200 << 20)
        sys.setrecursionlimit(10 ** 9)
        for _ in range(3):
            threading.Thread(target=__import__("time").sleep, args=(60,)).start()
        """,
        "failed",
        "can't start new thread",
    ),
    ended(
        "memory in C",
        """
        #include <stdlib.h>
        #include <string.h>
        #include <unistd.h>
        int main() {
            while (fork() >= 0) {
                char *p = malloc(60 << 20);
                if (p) memset(p, 1, 60 << 20);
            }
            pause();
        }
        """,
        "memory",
        "held more than",
        "c",
    ),
    attempts(
        "the machine's asynchronous contexts, locked memory and pinned pages",
        """
        import ctypes
        io_setup, mlock, mlockall, io_uring_setup, userfaultfd = 206, 149, 151, 425, 323
        context = ctypes.c_ulong(0)
        attempt("io_setup", lambda: call(io_setup, 1000, ctypes.byref(context)))
        block = ctypes.create_string_buffer(1 << 20)
        attempt("mlock", lambda: call(mlock, block, 1 << 20))
        attempt("mlockall", lambda: call(mlockall, 1))
        attempt("io_uring", lambda: call(io_uring_setup, 8, ctypes.create_string_buffer(120)))
        attempt("userfaultfd", lambda: call(userfaultfd, 0))
        """,
    ),
]
