"""Checks of HuggingFace's configurations and models for texts."""

from __future__ import annotations

from typing import Any

from utils.errors import UserError

ATTENTIONS = ("eager", "sdpa", "flash_attention_2", "flex_attention")


def prepare_config(config: Any, task: str) -> None:
    """Prepares a configuration for training.

    Raises:
        UserError: it names code of a hub.
    """
    _check_attention(config)
    config.use_cache = False  # it is for generation
    if task == "SequenceClassification" and config.pad_token_id is None:
        config.pad_token_id = _find_end(config)  # the model looks for the end of each text


def _find_end(config: Any) -> int | None:
    ends: int | list[int] | None = config.eos_token_id
    return ends[0] if isinstance(ends, list) else ends


def _check_attention(config: Any) -> None:
    """Refuses a configuration that names code of a hub."""
    for name, value in config.to_dict().items():
        if "implementation" in name and value is not None and value not in ATTENTIONS:
            raise UserError(
                f"its {name} '{value}' is none of {', '.join(ATTENTIONS)}", key="config"
            )


def check_causal(model: Any, task: str) -> None:
    """Raises UserError for an encoder as a causal model, because it sees the next tokens."""
    if task == "CausalLM" and getattr(model.config, "is_decoder", True) is False:
        seen = f"a {model.config.model_type} sees the tokens that it shall predict"
        raise UserError(f"{seen}; add is_decoder: true", key="config")
