"""What accelerators buy: from machines, their speed and days to training FLOPs; and the peaks of real ones."""

from typing import NamedTuple

SECONDS_PER_DAY = 86400


class Accelerator(NamedTuple):
    """One chip: its dense BF16 peak in FLOPs per second, and where that is said."""

    peak_flops: float
    source: str


_SPARSE = "half of what it quotes with 2:4 sparsity"
ACCELERATORS = {  # dense BF16 throughput of the matrix units, per chip as one buys it
    "NVIDIA A100": Accelerator(312e12, "NVIDIA A100 Tensor Core GPU datasheet, dense"),
    "NVIDIA A800": Accelerator(312e12, "NVIDIA A800 datasheet, dense (an A100 with slower NVLink)"),
    "NVIDIA L40S": Accelerator(362e12, "NVIDIA L40S datasheet, dense"),
    "NVIDIA H100 SXM": Accelerator(989.5e12, f"NVIDIA H100 datasheet, dense: {_SPARSE} (1,979 TFLOPS)"),
    "NVIDIA H100 PCIe": Accelerator(756.5e12, f"NVIDIA H100 PCIe product brief, dense: {_SPARSE} (1,513 TFLOPS)"),
    "NVIDIA H100 NVL": Accelerator(835.5e12, f"NVIDIA H100 datasheet, dense: {_SPARSE} (1,671 TFLOPS)"),
    "NVIDIA H800 SXM": Accelerator(989.5e12, f"NVIDIA H800 datasheet, dense: {_SPARSE} (1,979 TFLOPS)"),
    "NVIDIA H200 SXM": Accelerator(989.5e12, f"NVIDIA H200 datasheet, dense: {_SPARSE} (1,979 TFLOPS)"),
    "NVIDIA H20": Accelerator(148e12, "NVIDIA H20 datasheet, dense"),
    "NVIDIA B200": Accelerator(2250e12, f"NVIDIA DGX B200 datasheet, dense: {_SPARSE} (36 PFLOPS of eight)"),
    "NVIDIA GB200": Accelerator(2500e12, f"NVIDIA GB200 NVL72 datasheet, dense, per GPU: {_SPARSE} (360 PFLOPS of 72)"),
    "AMD MI250X": Accelerator(383e12, "AMD Instinct MI250X data sheet, dense (both dies)"),
    "AMD MI300X": Accelerator(1307.4e12, "AMD Instinct MI300X data sheet, dense"),
    "AMD MI325X": Accelerator(1307.4e12, "AMD Instinct MI325X data sheet, dense"),
    "Google TPU v4": Accelerator(275e12, "Google Cloud TPU v4 documentation, peak compute per chip, dense"),
    "Google TPU v5e": Accelerator(197e12, "Google Cloud TPU v5e documentation, peak compute per chip, dense"),
    "Google TPU v5p": Accelerator(459e12, "Google Cloud TPU v5p documentation, peak compute per chip, dense"),
    "Google TPU v6e": Accelerator(918e12, "Google Cloud TPU v6e documentation, peak compute per chip, dense"),
    "Intel Gaudi 2": Accelerator(432e12, "Intel Gaudi 3 AI accelerator white paper, matrix BF16, dense"),
    "Intel Gaudi 3": Accelerator(1835e12, "Intel Gaudi 3 AI accelerator white paper, matrix BF16, dense"),
    "AWS Trainium": Accelerator(190e12, "AWS Neuron documentation, Trainium architecture, dense"),
    "AWS Trainium2": Accelerator(667e12, "AWS Neuron documentation, Trainium2 architecture, dense"),
}


def training_budget(*, accelerators: float, peak_flops: float, mfu: float, days: float) -> float:
    """The training FLOPs that ``accelerators`` deliver in ``days``.

    ``peak_flops`` is one accelerator's dense peak in FLOPs per second, ``mfu`` the fraction of it that training reaches, in
    (0, 1]. The factors are multiplied in the order of the authors' planner, so that its budgets are met to the last bit.

    >>> training_budget(accelerators=1024, peak_flops=376e12, mfu=0.40, days=30)
    3.991928832e+23
    """
    return peak_flops * SECONDS_PER_DAY * mfu * accelerators * days
