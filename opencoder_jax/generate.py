"""`python -m opencoder_jax.generate`: continues a prompt with a trained model.

Reads a model directory of this project or a Hugging Face folder. The work is done by
`opencoder_jax.decoding.generation`, which evaluation uses too. Imports no tensorflow.
"""

import sys

from opencoder_jax import configuration
from opencoder_jax.decoding.engine import EngineConfig
from opencoder_jax.decoding.generation import generate as continue_prompts
from opencoder_jax.decoding.native import prepare_process
from opencoder_jax.decoding.sampling import SamplingSettings
from opencoder_jax.errors import require_at_least
from opencoder_jax.formats.chat import encode_prompt
from opencoder_jax.model.loading import load_model


def generate(
    model_dir: str,
    prompt: str,
    settings: SamplingSettings | None = None,
    chat: bool = False,
    samples: int = 1,
    slots: int = 16,
    step: int | None = None,
) -> None:
    """Prints what the model writes after `prompt`, and why it stopped.

    Args:
      model_dir: a model directory of this project or a Hugging Face folder.
      prompt: text to continue; with `chat`, what the user says.
      settings: length, temperature, stop texts; None is greedy.
      chat: ask in the layout that the instruction phases train: ChatML, or the chat template of
        the model's own tokenizer.
      samples: how many continuations; more than one differ only at a temperature above 0.
      slots: continuations that are written side by side, at most; changes the speed, not the text.
      step: which checkpoint; None takes the latest.
    """
    require_at_least(1, samples=samples, slots=slots)
    model = load_model(model_dir, step)
    ids = encode_prompt([("user", prompt)], model.tokenizer) if chat else model.prompt_ids(prompt)
    engine = EngineConfig(slots=min(slots, samples))
    prompts = [ids] * samples
    for result in continue_prompts(model, prompts, settings or SamplingSettings(), engine=engine):
        print(result.text if chat else prompt + result.text)
        print(f"[{len(result.ids)} tokens, ended by: {result.finish_reason}]", file=sys.stderr)


if __name__ == "__main__":
    prepare_process()
    sys.exit(configuration.main(generate, default_gin_files=["generate/greedy.gin"]))
