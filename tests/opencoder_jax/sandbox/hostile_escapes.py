"""Programs that try to get out, to read what is not theirs, or to pass without having passed."""

from tests.opencoder_jax.sandbox.hostile import Hostile, attempts, ended, refused

NETWORK = [
    attempts(
        "tcp to the host",
        """
        import socket
        for host in ("127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "1.1.1.1"):
            attempt(host, lambda: socket.create_connection((host, $TCP), timeout=1).send(b"x"))
        """,
    ),
    attempts(
        "udp to the host",
        """
        import socket
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            s = socket.socket(family, socket.SOCK_DGRAM)
            # It has a loopback interface of its own, where nobody listens.
            s.connect((address, $UDP))
            s.settimeout(1)
            attempt(address, lambda: s.send(b"x") and s.recv(1))
            attempt("broadcast", lambda: s.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 1))
        """,
    ),
    attempts(
        "unix sockets of the host, by path and by abstract name",
        """
        import socket
        for name in ("$UNIX", "\\0$UNIX", "/run/docker.sock", "/var/run/dbus/system_bus_socket"):
            s = socket.socket(socket.AF_UNIX)
            attempt(name, lambda: s.connect(name))
        """,
    ),
    attempts(
        "names of the network",
        """
        import socket
        attempt("dns", lambda: socket.getaddrinfo("example.org", 80))
        """,
    ),
    attempts(
        "socket families beside the network namespace",
        """
        import socket
        for family in range(3, 46):
            if family not in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
                    attempt(family, lambda: socket.socket(family, kind))
        for family in (socket.AF_INET, socket.AF_INET6):
            attempt("raw", lambda: socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_ICMP))
        """,
    ),
]

SECRETS = [
    attempts(
        "files of the host",
        """
        import os
        for path in ("$SECRET", "/etc/passwd", "/etc/shadow", "/root/.ssh", "/home", "/var", "/run",
                     "/sys", "/boot", "/dev/mem", "/dev/kmsg", "/dev/sda", "/dev/vda", "/dev/kvm",
                     "/dev/fuse", "/dev/net/tun", "/proc/kcore", "/proc/kmsg",
                     "/proc/1/root/etc/passwd",
                     "/proc/self/root/etc/passwd", "/../../etc/passwd",
                     "/proc/self/cwd/../etc/passwd"):
            read = os.listdir if os.path.isdir(path) else lambda path: open(path, "rb").read(1)
            attempt(path, lambda: read(path))
        """,
    ),
    attempts(
        "environment, memory and files of other processes",
        """
        import glob, os
        mine = {"1000000", str(os.getpid()), "self", "thread-self"}
        for folder in glob.glob("/proc/[0-9]*"):
            if os.path.basename(folder) in mine:
                continue
            for name in ("environ", "mem", "maps", "auxv", "stack", "syscall", "io"):
                attempt(folder + name, lambda: open(f"{folder}/{name}", "rb").read(1))
            for name in ("fd", "root", "cwd", "exe", "ns/net"):
                attempt(folder + name, lambda: os.listdir(f"{folder}/{name}")
                        if name == "fd" else os.readlink(f"{folder}/{name}"))
        """,
    ),
    attempts(
        "links to the host's files",
        """
        import os
        for number, path in enumerate(("$SECRET", "/etc/passwd", "/proc/1/root/etc/passwd")):
            os.symlink(path, f"link{number}")
            attempt(path, lambda: open(f"link{number}").read())
            attempt(path, lambda: os.link(path, f"hard{number}"))
        attempt("hard link", lambda: os.link("/usr/bin/env", "/tmp/env"))
        """,
    ),
    attempts(
        "writing where the host would see it",
        """
        import os, sys
        for folder in ("/", "/usr", "/usr/bin", "/usr/local/lib", "/lib", "/dev", "/proc",
                       "/packages", sys.base_prefix, os.path.dirname(os.__file__),
                       os.path.dirname("$SECRET")):
            attempt(folder, lambda: open(f"{folder}/hostile", "w"))
            attempt(folder, lambda: os.mkdir(f"{folder}/hostile"))
        attempt("chmod", lambda: os.chmod("/usr/bin/env", 0o4777))
        attempt("utime", lambda: os.utime("/usr/bin/env"))
        attempt("xattr", lambda: os.setxattr("/usr/bin/env", "user.x", b"x"))
        attempt("device", lambda: os.mknod("sda", 0o60666, os.makedev(8, 0)))
        attempt("core pattern", lambda: open("/proc/sys/kernel/core_pattern", "w").write("|/tmp/x"))
        attempt("sysrq", lambda: open("/proc/sysrq-trigger", "w").write("b"))
        """,
    ),
    attempts(
        "set-uid programs",
        """
        import os, subprocess
        for program in ("/usr/bin/su", "/usr/bin/sudo", "/usr/bin/mount", "/usr/bin/newuidmap",
                        "/usr/bin/pkexec", "/usr/bin/fusermount3"):
            if os.path.exists(program):
                command = [program, "root", "-c", "id -u"]
                done = subprocess.run(command, capture_output=True, text=True)
                assert done.returncode != 0 and done.stdout.strip() != "0", program
        for uid in (0, 65534):
            attempt(uid, lambda: os.setuid(uid))
            attempt(uid, lambda: os.setresgid(uid, uid, uid))
        attempt("groups", lambda: os.setgroups([0]))
        """,
    ),
]

KERNEL = [
    attempts(
        "mounts and roots",
        """
        mount, umount2, pivot_root, chroot = 165, 166, 155, 161
        open_tree, move_mount, fsopen, mount_setattr = 428, 429, 430, 442
        attempt("mount", lambda: call(mount, b"none", b"/tmp", b"tmpfs", 0, b""))
        attempt("remount", lambda: call(mount, b"none", b"/", b"", 32, b""))
        attempt("bind", lambda: call(mount, b"/", b"/tmp", b"", 4096, b""))
        attempt("umount", lambda: call(umount2, b"/tmp", 2))
        attempt("umount", lambda: call(umount2, b"/proc", 2))
        attempt("pivot_root", lambda: call(pivot_root, b".", b"."))
        attempt("chroot", lambda: call(chroot, b"/tmp"))
        attempt("open_tree", lambda: call(open_tree, -100, b"/", 1))
        attempt("move_mount", lambda: call(move_mount, -100, b"/", -100, b"/tmp", 0))
        attempt("fsopen", lambda: call(fsopen, b"tmpfs", 0))
        attempt("mount_setattr", lambda: call(mount_setattr, -100, b"/", 0, bytes(32), 32))
        """,
    ),
    attempts(
        "namespaces",
        """
        import os
        clone, clone3, unshare, setns = 56, 435, 272, 308
        for flag in (0x80, 0x20000, 0x2000000, 0x4000000, 0x8000000, 1 << 28, 1 << 29, 1 << 30):
            attempt("unshare", lambda: call(unshare, flag))
            attempt("clone", lambda: call(clone, flag | 17, 0, 0, 0, 0))
        attempt("clone3", lambda: call(clone3, bytes(88), 88))
        for kind in ("net", "mnt", "pid", "user"):
            attempt("setns", lambda: call(setns, os.open(f"/proc/self/ns/{kind}", 0), 0))
        """,
    ),
    attempts(
        "a sibling, which would be a child of the zygote",
        """
        import os
        clone, parent, end = 56, 0x8000, 17
        def sibling():
            if call(clone, parent | end, 0, 0, 0, 0) == 0:
                os._exit(0)
        attempt("clone", sibling)
        """,
    ),
    attempts(
        "other processes' memory",
        """
        import os
        ptrace, process_vm_readv, process_vm_writev, pidfd_getfd, kcmp = 101, 310, 311, 438, 312
        attempt("ptrace", lambda: call(ptrace, 16, 1, 0, 0))
        attempt("ptrace seize", lambda: call(ptrace, 0x4206, os.getppid(), 0, 0))
        attempt("traceme", lambda: call(ptrace, 0, 0, 0, 0))
        attempt("readv", lambda: call(process_vm_readv, 1, bytes(16), 1, bytes(16), 1, 0))
        attempt("writev", lambda: call(process_vm_writev, 1, bytes(16), 1, bytes(16), 1, 0))
        attempt("getfd", lambda: call(pidfd_getfd, os.pidfd_open(1), 3, 0))
        attempt("kcmp", lambda: call(kcmp, 1, os.getpid(), 0, 0, 0))
        """,
    ),
    attempts(
        "calls into the kernel's corners",
        """
        import ctypes
        buffer = ctypes.create_string_buffer(4096)
        for name, number, *arguments in (
            ("bpf", 321, 0, buffer, 48), ("perf_event_open", 298, buffer, 0, -1, -1, 0),
            ("keyctl", 250, 0, -3, 1), ("add_key", 248, b"user", b"x", b"x", 1, -3),
            ("request_key", 249, b"user", b"x", 0, -3), ("open_by_handle_at", 304, -100, buffer, 0),
            ("name_to_handle_at", 303, -100, b"/", buffer, buffer, 0), ("fanotify", 300, 0, 0),
            ("kexec", 246, 0, 0, 0, 0), ("finit_module", 313, 0, b"", 0),
            ("init_module", 175, 0, 0, b""), ("delete_module", 176, b"x", 0),
            ("reboot", 169, 0xFEE1DEAD, 672274793, 0, 0),
            ("settimeofday", 164, buffer, 0), ("clock_settime", 227, 0, buffer),
            ("sethostname", 170, b"x", 1), ("swapon", 167, b"/tmp/x", 0), ("acct", 163, b"/tmp/x"),
            ("syslog", 103, 3, buffer, 100), ("iopl", 172, 3), ("ioperm", 173, 0, 1, 1),
            ("modify_ldt", 154, 1, buffer, 16), ("quotactl", 179, 0, 0, 0, 0), ("vhangup", 153),
            ("newer than the list", 470, 0, 0, 0), ("x32", 0x40000000 | 39),
        ):
            attempt(name, lambda: call(number, *arguments))
        """,
    ),
    ended(
        "the 32-bit door",
        'int main() { int r; __asm__ volatile("int $0x80" : "=a"(r) : "a"(20)); return r > 0; }',
        "killed",
        "SIGSYS",
        "c",
    ),
    refused(
        "system calls from C",
        """
        #define _GNU_SOURCE
        #include <errno.h>
        #include <sched.h>
        #include <stdio.h>
        #include <sys/mount.h>
        #include <sys/ptrace.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        static void attempt(const char *name, long result) {
            if (result >= 0) printf("ESCAPED: %s\\n", name);
        }
        int main() {
            attempt("ptrace", ptrace(PTRACE_ATTACH, 1, 0, 0));
            attempt("mount", mount("none", "/tmp", "tmpfs", 0, ""));
            attempt("unshare", unshare(CLONE_NEWUSER | CLONE_NEWNS));
            attempt("chroot", chroot("/tmp"));
            attempt("setuid", setuid(0));
            attempt("io_uring", syscall(SYS_io_uring_setup, 8, 0));
            attempt("bpf", syscall(SYS_bpf, 0, 0, 0));
            attempt("keyctl", syscall(SYS_keyctl, 0, -3, 1));
            attempt("userfaultfd", syscall(SYS_userfaultfd, 0));
            attempt("secret", access("$SECRET", R_OK));
            attempt("passwd", access("/etc/passwd", R_OK));
            return 0;
        }
        """,
        "c",
    ),
    ended(
        "a core dump",
        "import os, resource, signal\nos.kill(os.getpid(), signal.SIGQUIT)",
        "killed",
        "SIGQUIT",
    ),
]

FORGERIES = [
    ended(
        "marks in every file there is",
        """
        import os
        for fd in range(256):
            for text in (b"E", b"passed", b'{"exit_code": 0, "stage": "run"}\\n', bytes(16) + b"E"):
                try:
                    os.write(fd, text)
                except OSError:
                    pass
        os._exit(0)
        """,
        "failed",
        "wrote to the sandbox's own pipe",
    ),
    ended(
        "filling the verdict's pipe",
        """
        import os
        for _ in range(1000):
            os.write(3, b"E" * 65536)
        os._exit(0)
        """,
        "failed",
        "wrote to the sandbox's own pipe",
    ),
    ended(
        "reading the verdict's pipe",
        """
        import os
        try:
            pipe = os.open("/proc/self/fd/3", os.O_RDONLY | os.O_NONBLOCK)
            secret = os.read(pipe, 16)
            os.write(3, secret + b"E" + secret)
        except (BlockingIOError, PermissionError):
            pass
        os._exit(0)
        """,
        "failed",
        "left before its end",
    ),
    ended(
        "taking the verdict's words on their way",
        """
        import os
        write = os.write
        def change(fd, text):
            write(fd, text.replace(b"M", b"E", 1))
            os._exit(0)
        os.write = change
        os.getpid = lambda: 1
        raise MemoryError
        """,
        "memory",
        "needed more than",
    ),
    ended(
        "the first thread ends, and another leaves",
        """
        import ctypes, os, threading, time
        exit = 60
        def leave():
            time.sleep(0.2)
            os._exit(0)
        threading.Thread(target=leave).start()
        ctypes.CDLL(None).syscall(exit, 0)
        """,
        "failed",
        "left before its end",
    ),
    ended(
        "another program in the place of a thread",
        """
        import os, threading, time
        threading.Thread(target=lambda: os.execv("/bin/true", ["true"])).start()
        time.sleep(60)
        """,
        "failed",
        "left before its end",
    ),
    ended(
        "no way to leave",
        "import os\nos._exit = lambda code: None\nassert False",
        "failed",
        "",
    ),
    ended(
        "a report of the failure that leaves",
        "import os, traceback\ntraceback.print_exception = lambda *_: os._exit(0)\nassert False",
        "failed",
        "left before its end",
    ),
    ended(
        "a stdout that leaves when it is flushed",
        """
        import os, sys
        class Out:
            closed = False
            def flush(self):
                os._exit(0)
        sys.stdout = Out()
        """,
        "failed",
        "left before its end",
    ),
    ended("leaving early", "import os\nos._exit(0)\nassert False", "failed", "left before its end"),
    ended("exit(0)", "exit(0)\nassert False", "failed", "left before its end"),
    ended(
        "leaving in an exit handler",
        "import atexit, os\natexit.register(os._exit, 0)\nassert False",
        "failed",
        "AssertionError",
    ),
    ended(
        "leaving in an exit handler of a program that ends",
        "import atexit, os\natexit.register(os._exit, 0)",
        "failed",
        "left before its end",
    ),
    ended(
        "a child that ends in the program's place",
        "import os, time\nif os.fork():\n    time.sleep(0.3)\n    os._exit(0)",
        "failed",
        "left before its end",
    ),
    ended(
        "another program in its place",
        "import os\nos.execv('/bin/true', ['true'])\nassert False",
        "failed",
        "left before its end",
    ),
    ended(
        "closing every file",
        "import os\nos.closerange(0, 256)\nassert False",
        "failed",
        "exit code 1",
    ),
    ended(
        "an exception that calls itself success",
        "class E(SystemExit):\n    code = 0\nraise E(0)",
        "failed",
        "left before its end",
    ),
    ended(
        "an assertion that exits",
        "import builtins, sys\nbuiltins.AssertionError = SystemExit\nassert False",
        "failed",
        "",
    ),
]

COMPILERS = [
    ended(
        "a header that is another process's memory",
        '#include "/proc/1/environ"\nint main() { return 0; }',
        "compile_error",
        "/proc/1/environ: Permission denied",
        "c",
    ),
    ended(
        "a header without end",
        # Refused by its own limit, or seen to hold too much: whichever comes first.
        '#include "/dev/zero"\nint main() { return 0; }',
        "memory",
        "its compiler",
        "c",
    ),
    ended(
        "the host's users in a Rust program",
        'static USERS: &str = include_str!("/etc/passwd"); fn main() { println!("{}", USERS); }',
        "compile_error",
        "couldn't read",
        "rust",
    ),
    ended(
        "the host's users in a Go program",
        """
        package main

        import _ "embed"

        //go:embed /etc/passwd
        var users string

        func main() { println(users) }
        """,
        "compile_error",
        "/etc/passwd",
        "go",
    ),
    ended(
        "a program of 16 GiB",
        "char x[1L << 34] = {1};\nint main() { return x[5]; }",
        "compile_error",
        "",
        "c",
    ),
]

ESCAPES: list[Hostile] = [*NETWORK, *SECRETS, *KERNEL, *FORGERIES, *COMPILERS]
