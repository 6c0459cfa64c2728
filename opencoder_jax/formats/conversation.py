"""One instruction example as a record: turns of a conversation with their roles.

What an SFT set holds before it is packed. The loss falls on assistant turns only
(paper §4.3); `opencoder_jax.formats.chat` lays the turns out in ChatML.
"""

import dataclasses
import json
from typing import Any

from opencoder_jax.errors import InputError
from opencoder_jax.formats.example import RecordError, decode_example, encode_example

ROLES = ("system", "user", "assistant")


class ConversationError(InputError):
    """A conversation that cannot be trained on."""


@dataclasses.dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation and where it came from.

    Attributes:
      id: 32 hex digits, unique in a set.
      messages: (role, content) of each turn; roles are `system` (first only), `user`,
        `assistant`.
      language: lower-case Linguist name of the code in it.
      repo: repository of the code that it was made from, for the held-out split.
      provenance: how it was made, e.g. `docstring-function`.
      details: a JSON object of what else is known of it (template, teacher, sampling, seed,
        tests, difficulty); empty: nothing.
    """

    id: str
    messages: tuple[tuple[str, str], ...]
    language: str
    repo: str
    provenance: str
    details: str = ""

    def __post_init__(self) -> None:
        roles = [role for role, _ in self.messages]
        unknown = sorted(set(roles) - set(ROLES))
        if unknown:
            raise ConversationError(f"conversation {self.id}: roles {unknown}, expected {ROLES}")
        if "assistant" not in roles:
            raise ConversationError(f"conversation {self.id}: no assistant turn to learn from")
        if self.details and not self.details.startswith("{"):
            raise ConversationError(f"conversation {self.id}: details are no JSON object")

    def known(self) -> dict[str, Any]:
        """The details as an object.

        Raises:
          ConversationError: they are none.
        """
        try:
            found = json.loads(self.details or "{}")
        except (ValueError, RecursionError) as error:
            raise ConversationError(f"conversation {self.id}: details: {error}") from error
        if not isinstance(found, dict):
            raise ConversationError(f"conversation {self.id}: details are no JSON object")
        return found


def encode_conversation(conversation: Conversation) -> bytes:
    features = {
        "id": conversation.id,
        "messages": json.dumps(conversation.messages, ensure_ascii=False),
        "language": conversation.language,
        "repo": conversation.repo,
        "provenance": conversation.provenance,
    }
    # Left out where there are none, so that sets without them keep their bytes.
    if conversation.details:
        features["details"] = conversation.details
    return encode_example(features)


def decode_conversation(record: bytes) -> Conversation:
    """The conversation in a serialized `tf.train.Example`.

    Raises:
      RecordError: a feature is missing or unreadable.
      ConversationError: its turns cannot be trained on.
    """
    features = decode_example(record)
    try:
        text = {
            name: features[name][0].decode("utf-8")
            for name in ("id", "messages", "language", "repo", "provenance")
        }
        messages = tuple(
            (str(role), str(content)) for role, content in json.loads(text["messages"])
        )
        # Sets made before there were details have none.
        text["details"] = features["details"][0].decode("utf-8") if "details" in features else ""
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise RecordError(
            f"not a conversation record (has {sorted(features)}): {error!r}"
        ) from error
    return Conversation(**{**text, "messages": messages})
