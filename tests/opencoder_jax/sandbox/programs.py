"""For each language, programs that end in each way; `test_languages` says which is which.

A language without some way (Bash has no memory of its own to ask for) lacks the entry.
"""

PASSES, ASSERTION, CRASH, ENDLESS, MEMORY, COMPILE, FLOOD, READS = (
    "passes",
    "assertion",
    "crash",
    "endless",
    "memory",
    "compile",
    "flood",
    "reads",
)

# `reads` doubles the number on stdin and prints the first argument.
PROGRAMS: dict[str, dict[str, str]] = {
    "python": {
        PASSES: "assert sum([1, 2]) == 3\nprint('hello')",
        ASSERTION: "assert sum([1, 2]) == 4",
        CRASH: "import os; os.abort()",
        ENDLESS: "while True: pass",
        MEMORY: "x = [0]\nwhile True: x = x + x",
        COMPILE: "def f(:",
        FLOOD: "while True: print('x' * 100)",
        READS: "import sys\nprint(2 * int(input()), sys.argv[1])",
    },
    "c": {
        PASSES: """
            #include <assert.h>
            #include <stdio.h>
            #include <math.h>
            int main() { assert(sqrt(9.0) == 3.0); puts("hello"); }
        """,
        ASSERTION: "#include <assert.h>\nint main() { assert(1 + 2 == 4); }",
        CRASH: "int main() { volatile int *p = 0; return *p; }",
        ENDLESS: "int main() { for (volatile int i = 0;; i++); }",
        MEMORY: """
            #include <stdlib.h>
            #include <string.h>
            int main() {
                for (;;) { char *p = malloc(1 << 20); if (!p) abort(); memset(p, 1, 1 << 20); }
            }
        """,
        COMPILE: "int main() { return 1 }",
        FLOOD: '#include <stdio.h>\nint main() { for (;;) puts("xxxxxxxxxxxxxxxxxxxxxxxx"); }',
        READS: """
            #include <stdio.h>
            int main(int count, char **words) {
                int x;
                scanf("%d", &x);
                printf("%d %s\\n", 2 * x, words[1]);
            }
        """,
    },
    "cpp": {
        PASSES: """
            #include <bits/stdc++.h>
            int main() {
                std::vector<int> v = {1, 2};
                assert(std::accumulate(v.begin(), v.end(), 0) == 3);
                std::cout << "hello" << std::endl;
            }
        """,
        ASSERTION: "#include <cassert>\nint main() { assert(1 + 2 == 4); }",
        CRASH: "int main() { throw 1; }",
        ENDLESS: "int main() { for (volatile int i = 0;; i = i + 1); }",
        MEMORY: """
            #include <vector>
            int main() { std::vector<std::vector<char>> v; for (;;) v.emplace_back(1 << 20, 1); }
        """,
        COMPILE: "int main() { return undeclared; }",
        FLOOD: '#include <cstdio>\nint main() { for (;;) std::puts("xxxxxxxxxxxxxxxxxxxxx"); }',
        READS: """
            #include <iostream>
            int main(int, char **words) {
                int x;
                std::cin >> x;
                std::cout << 2 * x << " " << words[1] << std::endl;
            }
        """,
    },
    "java": {
        PASSES: """
            import java.util.*;
            public class Solution {
                public static void main(String[] words) {
                    assert List.of(1, 2).stream().mapToInt(x -> x).sum() == 3;
                    System.out.println("hello");
                }
            }
        """,
        ASSERTION: """
            class Problem {
                public static void main(String[] words) { assert 1 + 2 == 4; }
            }
        """,
        CRASH: """
            class Main {
                public static void main(String[] words) { throw new RuntimeException("no"); }
            }
        """,
        ENDLESS: "class Main { public static void main(String[] words) { while (true); } }",
        MEMORY: """
            import java.util.*;
            class Main {
                public static void main(String[] words) {
                    List<byte[]> all = new ArrayList<>();
                    while (true) all.add(new byte[1 << 20]);
                }
            }
        """,
        COMPILE: 'class Main { public static void main(String[] words) { int x = ""; } }',
        FLOOD: """
            class Main {
                public static void main(String[] words) {
                    while (true) System.out.println("xxxxxxxxxxxxxxxxxxxxxxxx");
                }
            }
        """,
        READS: """
            import java.util.Scanner;
            class Main {
                public static void main(String[] words) {
                    int x = new Scanner(System.in).nextInt();
                    System.out.println(2 * x + " " + words[0]);
                }
            }
        """,
    },
    "javascript": {
        PASSES: """
            const assert = require("node:assert");
            assert.deepEqual([2, 1].sort(), [1, 2]);
            console.log("hello");
        """,
        ASSERTION: "require('node:assert').equal(1 + 2, 4);",
        CRASH: "process.abort();",
        ENDLESS: "for (;;);",
        MEMORY: "const all = []; for (;;) all.push(new Array(100000).fill(1.5));",
        FLOOD: """
            const fs = require("fs");
            for (;;) fs.writeSync(1, "x".repeat(1000));
        """,
        READS: """
            const x = Number(require("fs").readFileSync(0, "utf8"));
            console.log(`${2 * x} ${process.argv[2]}`);
        """,
    },
    "typescript": {
        PASSES: """
            declare var require: any;
            const assert = require("node:assert");
            function add(a: number, b: number): number { return a + b; }
            assert.equal(add(1, 2), 3);
            console.log("hello");
        """,
        ASSERTION: """
            declare var require: any;
            require("node:assert").equal(1 + 2, 4);
        """,
        CRASH: "throw new Error('no');",
        ENDLESS: "for (;;);",
        MEMORY: "const all: number[][] = []; for (;;) all.push(new Array(100000).fill(1.5));",
        COMPILE: "const x: number = 'text';",
        FLOOD: """
            declare var require: any;
            for (;;) require("fs").writeSync(1, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
        """,
        READS: """
            declare var require: any;
            declare var process: any;
            const x: number = Number(require("fs").readFileSync(0, "utf8"));
            console.log(`${2 * x} ${process.argv[2]}`);
        """,
    },
    "go": {
        PASSES: """
            package main
            import ("fmt"; "sort")
            func main() {
                x := []int{2, 1}
                sort.Ints(x)
                if x[0] != 1 { panic("unsorted") }
                fmt.Println("hello")
            }
        """,
        ASSERTION: """
            package main
            func main() { x := 2; if 1 + x != 4 { panic("wrong") } }
        """,
        CRASH: "package main\nfunc main() { var p *int; *p = 1 }",
        ENDLESS: "package main\nfunc main() { for {} }",
        MEMORY: """
            package main
            func main() {
                var all [][]byte
                for {
                    b := make([]byte, 1 << 20)
                    for i := range b { b[i] = 1 }
                    all = append(all, b)
                }
            }
        """,
        COMPILE: "package main\nfunc main() { x := 1 }",
        FLOOD: """
            package main
            import "fmt"
            func main() { for { fmt.Println("xxxxxxxxxxxxxxxxxxxxxxxx") } }
        """,
        READS: """
            package main
            import ("fmt"; "os")
            func main() { var x int; fmt.Scan(&x); fmt.Println(2 * x, os.Args[1]) }
        """,
    },
    "rust": {
        PASSES: """
            use std::collections::HashMap;
            fn main() {
                let m: HashMap<&str, i32> = HashMap::from([("a", 1)]);
                assert_eq!(m["a"], 1);
                println!("hello");
            }
        """,
        ASSERTION: "fn main() { let x = 2; assert_eq!(1 + x, 4); }",
        CRASH: "fn main() { std::process::abort(); }",
        ENDLESS: "fn main() { loop {} }",
        MEMORY: "fn main() { let mut v = vec![]; loop { v.push(vec![1u8; 1 << 20]); } }",
        COMPILE: 'fn main() { let x: i32 = ""; }',
        FLOOD: 'fn main() { loop { println!("xxxxxxxxxxxxxxxxxxxxxxxx"); } }',
        READS: """
            fn main() {
                let mut line = String::new();
                std::io::stdin().read_line(&mut line).unwrap();
                let x: i32 = line.trim().parse().unwrap();
                println!("{} {}", 2 * x, std::env::args().nth(1).unwrap());
            }
        """,
    },
    "php": {
        PASSES: "<?php\nassert(array_sum([1, 2]) === 3);\necho 'hello', PHP_EOL;",
        ASSERTION: "<?php\nassert(array_sum([1, 2]) === 4);",
        CRASH: "<?php\nthrow new Exception('no');",
        ENDLESS: "<?php\nwhile (true);",
        MEMORY: "<?php\n$x = []; while (true) $x[] = str_repeat('x', 1 << 20);",
        FLOOD: "<?php\nwhile (true) echo 'xxxxxxxxxxxxxxxxxxxxxxxx';",
        READS: "<?php\n$x = (int) fgets(STDIN);\necho 2 * $x, ' ', $argv[1], PHP_EOL;",
    },
    "csharp": {
        PASSES: """
            using System; using System.Linq; using System.Diagnostics;
            class Problem {
                public static void Main() {
                    Debug.Assert(new[] {1, 2}.Sum() == 3);
                    Console.WriteLine("hello");
                }
            }
        """,
        ASSERTION: """
            using System.Diagnostics;
            class Problem { public static void Main() { Debug.Assert(1 + 2 == 4); } }
        """,
        CRASH: 'class P { public static void Main() { throw new System.Exception("no"); } }',
        ENDLESS: "class P { public static void Main() { while (true); } }",
        MEMORY: """
            using System.Collections.Generic;
            class P {
                public static void Main() {
                    var all = new List<byte[]>();
                    while (true) {
                        var b = new byte[1 << 20];
                        for (int i = 0; i < b.Length; i += 1024) b[i] = 1;
                        all.Add(b);
                    }
                }
            }
        """,
        COMPILE: 'class P { public static void Main() { int x = ""; } }',
        FLOOD: """
            class P {
                public static void Main() {
                    while (true) System.Console.WriteLine("xxxxxxxxxxxxxxxxxxxxxxxx");
                }
            }
        """,
        READS: """
            using System;
            class P {
                public static void Main(string[] words) {
                    Console.WriteLine("{0} {1}", 2 * int.Parse(Console.ReadLine()), words[0]);
                }
            }
        """,
    },
    "bash": {
        PASSES: "set -e\n[[ $(echo 1 2 | awk '{print $1 + $2}') == 3 ]]\necho hello",
        ASSERTION: "set -e\n[[ $((1 + 2)) == 4 ]]",
        CRASH: "kill -SEGV $$",
        ENDLESS: "while true; do :; done",
        MEMORY: "x=x; while true; do x=$x$x; done",
        FLOOD: "while true; do echo xxxxxxxxxxxxxxxxxxxxxxxx; done",
        READS: 'read x\necho "$((2 * x)) $1"',
    },
}
