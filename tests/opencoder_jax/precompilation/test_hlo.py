"""The text of a program is taken apart where XLA ends its parts, in all forms that it has."""

from opencoder_jax.precompilation.hlo import parse

TEXT = """HloModule m, entry_computation_layout={(f32[8]{0:T(128)})->f32[8]{0:T(128)}}

%on_another_core (p.1: f32[8]) -> f32[8] {
  %p.1 = f32[8]{0:T(128)} parameter(0)
  ROOT %twice = f32[8]{0:T(128)} add(%p.1, %p.1)
}, execution_thread="sparsecore"

%fused (p.2: f32[8]) -> f32[8] {
  %p.2 = f32[8]{0:T(128)} parameter(0)
  ROOT %square = f32[8]{0:T(128)} multiply(%p.2, %p.2), frontend_attributes={kernel_metadata={
"a": "b"
}}, metadata={op_name="jit(f)/mul"}
}

ENTRY %main (x: f32[8]) -> f32[8] {
  %x = f32[8]{0:T(128)} parameter(0)
  ROOT %y = f32[8]{0:T(128)} fusion(%x), kind=kLoop, calls=%fused
}
"""


def test_computations_end_where_they_end():
    module = parse(TEXT)
    assert set(module.computations) == {"on_another_core", "fused", "main"}
    assert module.executions == {"main": 1, "fused": 1}
    assert module.computations["fused"].root.op_name == "jit(f)/mul"
    # Eight numbers in a tile of 128.
    assert [array.padded_bytes for array in module.arguments] == [512]
