"""What accelerators buy: from machines, their speed and days to training FLOPs."""

SECONDS_PER_DAY = 86400


def training_budget(*, accelerators: float, peak_flops: float, mfu: float, days: float) -> float:
    """The training FLOPs that ``accelerators`` deliver in ``days``.

    ``peak_flops`` is one accelerator's dense peak in FLOPs per second, ``mfu`` the fraction of it that training reaches, in
    (0, 1]. The factors are multiplied in the order of the authors' planner, so that its budgets are met to the last bit.

    >>> training_budget(accelerators=1024, peak_flops=376e12, mfu=0.40, days=30)
    3.991928832e+23
    """
    return peak_flops * SECONDS_PER_DAY * mfu * accelerators * days
