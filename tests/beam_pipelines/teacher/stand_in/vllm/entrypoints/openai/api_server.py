"""`python -m vllm.entrypoints.openai.api_server --model M --port P --max-num-seqs N`."""

import argparse
import os
import sys

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--port", required=True)
parser.add_argument("--max-num-seqs", default="8")
given = parser.parse_args()
command = [sys.executable, "-m", "opencoder_jax.serve", f"--model={given.model}"]
command += [f"--served_name={given.model}", f"--port={given.port}", "--length=1024"]
os.execv(sys.executable, [*command, f"--slots={given.max_num_seqs}"])
