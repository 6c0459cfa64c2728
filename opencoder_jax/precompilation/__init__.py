"""Compiling a training step for TPUs that are not there, and reading what the compiler made.

`topology` names machines and finds their devices, `chips` has what is published of them;
`program` compiles the step; `hlo` parses the compiled program, and `collectives`,
`traffic`, `memory`, `operations` count in it; `roofline` puts the counts beside the
chip's limits; `report` prints. The command is `opencoder_jax.precompile`.
"""
