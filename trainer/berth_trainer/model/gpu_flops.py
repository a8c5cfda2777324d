"""Peak FLOP/s of GPUs, and the model FLOPs utilisation of a run."""

# Dense bf16 tensor TFLOP/s without sparsity, from NVIDIA's data sheets. The first name that the
# GPU's name contains counts, so that a longer name stands before its beginning.
_BF16_TFLOPS = (
    ("H100 PCIe", 756.0),
    ("H100 NVL", 835.0),
    ("H100", 989.4),
    ("H200 NVL", 835.0),
    ("H200", 989.4),
    ("GH200", 989.4),
    ("H800", 989.4),
    ("H20", 148.0),
    ("B200", 2250.0),
    ("A100", 312.0),
    ("A800", 312.0),
    ("A30", 165.0),
    ("A10G", 70.0),
    ("A10", 125.0),
    ("A40", 149.7),
    ("RTX A6000", 154.8),
    ("RTX 6000 Ada", 364.2),
    ("L40S", 362.0),
    ("L40", 181.0),
    ("L4", 121.0),
)


def bf16_peak(gpu: str) -> float | None:
    """Return the bf16 FLOP/s of a GPU by its driver's name for it; None for an unknown one."""
    for name, tflops in _BF16_TFLOPS:
        if name in gpu:
            return tflops * 1e12
    return None


def share_of_peak(
    tokens_per_s: float, *, parameters: int, trained: int, peak: float, gpus: int
) -> float:
    """
    Return the model FLOPs utilisation: the share of the GPUs' peak that goes into the model.

    A token takes 2 FLOP a parameter forward, 2 backward for the activations, and 2 for each
    trained parameter's gradient: 6 N where all are trained. Attention's own products and what
    checkpointing computes twice are not counted (model FLOPs utilisation, Chowdhery et al.,
    "PaLM", 2022, appendix B, without its attention term).
    """
    return tokens_per_s * (4 * parameters + 2 * trained) / (peak * gpus)
