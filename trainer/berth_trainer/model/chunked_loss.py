"""
Chunked cross-entropy loss, which never materialises all logits.

With a vocabulary of 262,208 the stock loss of a 4,096-token micro-batch takes 12 GiB for logits
and their copies. Here the head sees only the positions that have a label, a few hundred at a
time, and each piece is computed again in the backward pass.
"""

from types import MethodType
from typing import Any

from berth_trainer.data.encode import IGNORED

# Those whose forward is the decoder, the head and the soft cap, and nothing else, and whose
# attention tells packed samples apart by their positions.
ABLE = frozenset(
    f"{name}ForCausalLM"
    for name in ("Gemma", "Gemma2", "Gemma3", "Llama", "Mistral", "Olmo2", "Phi3", "Qwen2", "Qwen3")
)


def is_able(model: Any) -> bool:
    """Return whether the model's head is known to be plain enough."""
    return type(model).__name__ in ABLE


def install(model: Any, chunk: int) -> None:
    """
    Give `model` a forward that returns the loss and no logits wherever labels are given.

    The loss is the stock one. Without labels (generation) the model's own forward runs.
    """
    stock = model.forward

    def forward(
        self: Any,
        input_ids: Any = None,
        attention_mask: Any = None,
        labels: Any = None,
        num_items_in_batch: Any = None,
        **options: Any,
    ) -> Any:
        from transformers.modeling_outputs import CausalLMOutputWithPast

        if labels is None:
            return stock(input_ids=input_ids, attention_mask=attention_mask, **options)
        hidden = self.get_decoder()(
            input_ids=input_ids, attention_mask=attention_mask, **options
        ).last_hidden_state
        summed, count = _summed_loss(self, hidden, labels, chunk)
        return CausalLMOutputWithPast(
            loss=summed / (count if num_items_in_batch is None else num_items_in_batch)
        )

    model.forward = MethodType(forward, model)
    model.berth_loss_chunk = chunk


def chunk_of(model: Any) -> int:
    """Return the chunk size that `install` set; 0 for the stock loss."""
    return int(getattr(model, "berth_loss_chunk", 0))


def _summed_loss(model: Any, hidden: Any, labels: Any, chunk: int) -> tuple[Any, Any]:
    """
    Return the summed loss over label tokens, and their number.

    Each call of the head is a collective under ZeRO-3, and ranks hold different numbers of
    positions: they agree on the largest number of chunks, and those with fewer add chunks that
    count for nothing.
    """
    import torch
    from torch.utils.checkpoint import checkpoint

    following = torch.nn.functional.pad(labels, (0, 1), value=IGNORED)[:, 1:]
    labelled = following != IGNORED
    chosen, answers = hidden[labelled], following[labelled]
    filler = hidden.reshape(-1, hidden.shape[-1])[:1]
    ignored = answers.new_full((1,), IGNORED)
    total = hidden.new_zeros((), dtype=torch.float32)
    for number in range(_agreed(-(-len(answers) // chunk), hidden.device)):
        start = number * chunk
        inside = start < len(answers)
        part = chosen[start : start + chunk] if inside else filler
        right = answers[start : start + chunk] if inside else ignored
        total = total + checkpoint(_part, model, part, right, use_reentrant=False)
    return total, labelled.sum().clamp(min=1)


def _part(model: Any, hidden: Any, answers: Any) -> Any:
    import torch

    logits = model.get_output_embeddings()(hidden).float()
    cap = getattr(model.config, "final_logit_softcapping", None)
    if cap:
        logits = torch.tanh(logits / cap) * cap
    return torch.nn.functional.cross_entropy(logits, answers, ignore_index=IGNORED, reduction="sum")


def _agreed(chunks: int, device: Any) -> int:
    """Return the largest number of chunks among the ranks, at least one."""
    import torch
    from torch import distributed

    most = max(1, chunks)
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return most
    agreed = torch.tensor([most], device=device)
    distributed.all_reduce(agreed, op=distributed.ReduceOp.MAX)
    return int(agreed.item())
