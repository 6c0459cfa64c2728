"""A `PrecompileResult` as text for people and as JSON for programs."""

import dataclasses
from typing import Any

from opencoder_jax.precompilation.chips import GIB
from opencoder_jax.precompilation.memory import as_json
from opencoder_jax.precompilation.program import Counts, PrecompileResult

_MIB = 1 << 20


def to_json(result: PrecompileResult) -> dict[str, Any]:
    """Everything as JSON; bytes, operations and seconds without prefixes."""
    counts = result.counts
    described: dict[str, Any] = {
        "fits": result.fits,
        "topology": result.topology.name,
        "num_slices": result.topology.num_slices,
        "chip": result.topology.chip.kind,
        "num_chips": result.topology.num_chips,
        "num_devices": result.num_devices,
        "mesh": result.mesh,
        "batch_size": result.batch_size,
        "sequence_length": result.sequence_length,
        "num_microbatches": result.config.num_microbatches,
        "remat_policy": result.config.model.remat_policy,
        "loss_chunk_length": result.config.loss_chunk_length,
        "loss_vocab_blocks": result.config.loss_vocab_blocks,
        "parameters": result.config.model.parameter_count(),
        "compile_seconds": result.compile_seconds,
    }
    if result.shortage:
        described["shortage"] = dataclasses.asdict(result.shortage)
    if counts:
        bound = counts.bound
        described |= {
            "memory": as_json(counts.memory),
            "largest_temporaries": [dataclasses.asdict(t) for t in counts.temporaries],
            "model_flops": counts.model_flops,
            "hardware_flops": counts.operations.total,
            "uncounted_kernels": list(counts.operations.unknown_kernels),
            "hbm_bytes": counts.hbm_bytes,
            "kernels": counts.kernels,
            "collectives": [dataclasses.asdict(c) for c in counts.collectives],
            "bound": {
                "seconds": bound.limits,
                "limiting": bound.limiting,
                "step_seconds": bound.overlapped,
                "step_seconds_without_overlap": bound.serial,
                "mfu": bound.mfu,
                "mfu_without_overlap": bound.serial_mfu,
                "tokens_per_second_per_chip": _tokens(result) / bound.overlapped,
            },
        }
    return described


def to_text(result: PrecompileResult) -> str:
    """The report that the command prints."""
    where, model = result.topology, result.config.model
    mesh = ", ".join(f"{axis}={size}" for axis, size in result.mesh.items())
    rows = result.batch_size / result.config.num_microbatches / result.num_devices
    lines = [
        f"topology    {where.describe()}",
        f"mesh        {mesh}",
        f"model       {model.parameter_count():,} parameters, remat {model.remat_policy}",
        f"batch       {result.batch_size:,} sequences of {result.sequence_length:,} tokens, "
        f"{result.config.num_microbatches} microbatch(es): {rows:g} sequences a device at a time",
        f"compiled    in {result.compile_seconds:.0f} s",
        "",
    ]
    if result.counts:
        lines += _counts_text(result, result.counts)
    if result.shortage:
        lines += [
            f"DOES NOT FIT: {result.shortage.message}",
            "More chips, a larger fsdp or tensor axis, more microbatches, a remat policy that",
            "stores less, a shorter loss_chunk_length or more loss_vocab_blocks need less memory:",
            "docs/precompile.md.",
        ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _counts_text(result: PrecompileResult, counts: Counts) -> list[str]:
    chip = result.topology.chip
    memory, bound = counts.memory, counts.bound
    capacity = (chip.usable_hbm_bytes or chip.hbm_bytes) / chip.devices_per_chip
    lines = [f"HBM of a device: {memory.peak / GIB:.2f} GiB of {capacity / GIB:.2f} GiB"]
    for name, size in (
        ("parameters", memory.parameters),
        ("optimizer state", memory.optimizer_state),
        ("batch", memory.batch),
        ("other arguments", memory.other_arguments),
        ("temporaries", memory.temporaries),
        ("output", memory.output),
        ("  in the place of arguments", -memory.aliased),
        ("program", memory.generated_code),
    ):
        lines.append(f"  {name:<28}{size / _MIB:>12,.1f} MiB")
    lines.append("  largest temporaries:")
    lines += [
        f"    {t.kind:<36}{t.num_bytes / _MIB:>10,.1f} MiB  {t.source}" for t in counts.temporaries
    ]
    done = counts.operations
    again = done.total / counts.model_flops - 1
    lines += [
        "",
        f"operations of a step: {counts.model_flops:.3e} of the model (matrix products and causal "
        "attention)",
        f"                      {done.total:.3e} computed ({again:+.0%}: computed again, masked, "
        "padded)",
    ]
    if done.unknown_kernels:
        lines.append(f"  not counted: kernels {', '.join(done.unknown_kernels)}")
    kernels = ", ".join(f"{name} x{times}" for name, times in counts.kernels.items())
    lines += [f"kernels of a step: {kernels or 'none'}", "", "collectives of a step, one device:"]
    for c in counts.collectives:
        over = f", {c.num_slices} slices: {c.dcn_bytes / _MIB:,.1f} MiB" if c.num_slices > 1 else ""
        lines.append(
            f"  {c.kind:<20}{'+'.join(c.axes):<14}over {c.group_size:<5}x{c.count:<6}"
            f"{c.sent_bytes / _MIB:>12,.1f} MiB{over}  most of it: {c.largest_source}"
        )
    lines += [
        "",
        f"at the published limits of {chip.kind} a step takes at least (a bound, not a time):",
    ]
    what = {
        "compute": "matrix units",
        "hbm": f"HBM, {counts.hbm_bytes / GIB:,.1f} GiB",
        "ici": "ICI",
        "dcn": "DCN",
    }
    for name, seconds in bound.limits.items():
        known = name != "dcn" or bound.dcn is not None
        time = f"{1e3 * seconds:>10,.1f} ms" if known else "not published"
        mark = "  <- the busiest" if name == bound.limiting else ""
        lines.append(f"  {what[name]:<28}{time}{mark}")
    tokens = _tokens(result) / bound.overlapped
    lines += [
        f"MFU at most {bound.mfu:.0%} ({tokens:,.0f} tokens/s a chip) with everything overlapped, "
        f"{bound.serial_mfu:.0%} with nothing",
        "",
        "FITS",
    ]
    return lines


def _tokens(result: PrecompileResult) -> float:
    """Tokens of a step, a chip."""
    return result.batch_size * result.sequence_length / result.topology.num_chips
