"""Loading of model and tokenizer, refused where weights would not be the checkpoint's."""

import contextlib
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any

from berth_trainer.config.settings import Settings
from berth_trainer.errors import UserError
from berth_trainer.model.hardware import Hardware
from berth_trainer.training.ranks import log0, warn

# A multimodal Gemma-3 checkpoint read as a text model: without the mapping every weight stays
# random, and transformers only logs it. Files have the hub's names, or those of the class.
GEMMA3_TEXT_KEYS = {
    r"^language_model\.model\.": "model.",
    r"^language_model\.lm_head": "lm_head",
    r"^model\.language_model\.": "model.",
}
_PROBE = "Hello, こんにちは"  # any tokenizer has a token for some of it


def model_name(settings: Settings) -> str:
    """Return the model's local folder, or its name on the hub. Raises UserError."""
    given = settings.model.path
    path = settings.locate(given)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise UserError(
                f"model.path {path} holds no config.json; point it at a model's folder."
            )
        return str(path)
    looks_local = given.startswith((".", "/", "~")) or given.count("/") != 1
    if looks_local or path.exists():
        raise UserError(f"model.path {path} does not exist; set it to a model's folder.")
    return given


def load_config(name: str) -> Any:
    """Return the model's configuration. Raises UserError where it cannot be loaded."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(name)
    except Exception as error:  # whatever is raised here, it is about that file
        fix = (
            ""
            if is_local(name)
            else " Set it to a local folder, or check the name and the network."
        )
        raise UserError(f"model.path {name} cannot be loaded: {_first_line(error)}{fix}") from error


def load_tokenizer(name: str) -> Any:
    """Return the tokenizer, with a padding token. Raises UserError."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, ImportError) as error:
        raise UserError(
            f"model.path {name} has no usable tokenizer: {_first_line(error)}"
        ) from error
    known = set(tokenizer(_PROBE, add_special_tokens=False)["input_ids"])
    if known <= set(tokenizer.all_special_ids):
        # transformers makes an empty one up where the files are missing, and says nothing.
        raise UserError(
            f"model.path {name} holds no usable tokenizer: copy tokenizer.json (or "
            "tokenizer.model) and tokenizer_config.json from the model that it comes from."
        )
    _check_chat_template(name, tokenizer)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _check_chat_template(name: str, tokenizer: Any) -> None:
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        return
    try:
        tokenizer.apply_chat_template(
            [{"role": "user", "content": _PROBE}], tokenize=False, add_generation_prompt=True
        )
    except TemplateError as error:
        raise UserError(
            f"the chat template of model.path {name} fails: {_first_line(error)} Fix its "
            "chat_template.jinja, or remove it to train on plain “User: …” lines."
        ) from error


def fit_to_model(settings: Settings, config: Any, tokenizer: Any) -> int:
    """Return the length to train with. Raises UserError where tokenizer and model do not match."""
    text = config.get_text_config()
    vocabulary = int(text.vocab_size)
    if len(tokenizer) > vocabulary:
        raise UserError(
            f"the tokenizer of {settings.model.path} has {len(tokenizer)} tokens and the model "
            f"only {vocabulary}; use the tokenizer that belongs to the model."
        )
    wanted = settings.training.max_length
    longest = getattr(text, "max_position_embeddings", None)
    if isinstance(longest, int) and wanted > longest:
        warn(f"training.max_length {wanted} exceeds the model's {longest}: {longest} is used.")
        return longest
    return wanted


def load_model(
    name: str, config: Any, hardware: Hardware, *, four_bit_on: str | None = None
) -> Any:
    """
    Load a causal language model; call it after TrainingArguments, which arms zero.Init.

    `four_bit_on` names the device that holds the linear layers in 4 bits (nf4, double
    quantization). Raises UserError where a weight is not in the checkpoint: training would start
    from random values.
    """
    from transformers import AutoModelForCausalLM

    options = _loading_options(hardware, four_bit_on)
    kind: Any = AutoModelForCausalLM
    if config.model_type == "gemma3":
        from transformers import Gemma3ForCausalLM

        log0("The checkpoint is a multimodal Gemma-3: only its text part is trained.")
        kind, config = Gemma3ForCausalLM, config.get_text_config()
        options["key_mapping"] = GEMMA3_TEXT_KEYS
    with _as_user_error(name):
        model, info = kind.from_pretrained(name, config=config, **options)
    mismatched = sorted(info.get("mismatched_keys") or ())
    if mismatched:
        raise _misfit(name, mismatched[0][0])
    missing = sorted(set(info["missing_keys"]) - tied_keys(model))
    if missing:
        raise UserError(
            f"{name} lacks {len(missing)} of the model's weights ({missing[0]}, …): they would "
            "start from random values; use a complete checkpoint of this kind of model."
        )
    if "key_mapping" in options:
        # save_pretrained would map the names back, and no text model loads those.
        model._weight_conversions = None  # noqa: SLF001  # transformers has no public switch that the Trainer's saving honours
    model.config.use_cache = False  # a cache is for generation and conflicts with checkpointing
    return model


def _loading_options(hardware: Hardware, four_bit_on: str | None) -> dict[str, Any]:
    """Return the options of `from_pretrained`."""
    import torch

    dtype = torch.bfloat16 if hardware.precision == "bf16" else torch.float32
    options: dict[str, Any] = {
        "dtype": dtype,
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,  # load_model reports them in one sentence
    }
    if hardware.attention != "auto":
        options["attn_implementation"] = hardware.attention
    if four_bit_on is not None:
        from transformers import BitsAndBytesConfig

        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
        options["device_map"] = {"": four_bit_on}
    return options


@contextlib.contextmanager
def _as_user_error(name: str) -> Generator[None]:
    """Turn errors about the model's files, but not about memory, into UserError."""
    from pickle import UnpicklingError

    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError) as error:
        if _is_memory(error):
            raise
        raise UserError(f"model.path {name} cannot be loaded: {_first_line(error)}") from error
    except (SafetensorError, UnpicklingError, EOFError, RuntimeError) as error:
        text = str(error)
        if "size mismatch" in text:  # under ZeRO-3 it is raised, otherwise only reported afterwards
            key = text.partition("size mismatch for ")[2].partition(":")[0]
            raise _misfit(name, key) from error
        if isinstance(error, RuntimeError) and "PytorchStreamReader" not in text:
            raise
        raise UserError(
            f"the weights in model.path {name} are cut short or damaged "
            f"({text.partition('. ')[0]}): copy or download them again."
        ) from error


def _misfit(name: str, key: str) -> UserError:
    return UserError(
        f"weights in {name} ({key}, …) do not have the shapes that its config.json says: use the "
        "config.json that belongs to the weights."
    )


def tied_keys(model: Any) -> set[str]:
    """Return the weights that share another's storage and may be absent from a checkpoint."""
    tied: Any = getattr(model, "all_tied_weights_keys", None) or getattr(
        model, "_tied_weights_keys", None
    )
    return set(tied or ())


def parameter_count(model: Any) -> int:
    """Return the parameters of the whole model, also where ZeRO-3 has partitioned them."""
    return sum(int(getattr(p, "ds_numel", p.numel())) for p in model.parameters())


def is_local(name: str) -> bool:
    return Path(name).is_dir()


def forbid_network_for_local(name: str) -> None:
    """Forbid requests to the hub for a local model; without a network each costs seconds."""
    if is_local(name):
        os.environ.setdefault("HF_HUB_OFFLINE", "1")


def _first_line(error: BaseException) -> str:
    inner = error.__cause__ if type(error).__name__.startswith("Strict") else None  # a wrapper's
    line = str(inner or error).strip().partition("\n")[0].strip()
    return line if line.endswith((".", "!", "?")) else f"{line}."


def _is_memory(error: BaseException) -> bool:
    return "memory" in str(error).lower()
