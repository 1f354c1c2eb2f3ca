import subprocess
import sys

import pytest

STEPS = """
import resource
import sys
import torch
if "prepared" in sys.argv:
    from textadv.machine import prepare_machine
    prepare_machine()
torch.set_num_threads(1)
lstm = torch.nn.LSTM(32, 128, batch_first=True)
def step(width):
    lstm(torch.ones(4, width, 32))[0].sum().backward()
step(300)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for width in range(150, 290):
    step(width)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def growth(*arguments: str) -> float:
    """MiB that a process gains while it sees batches of 140 lengths, none longer than the first."""
    run = subprocess.run([sys.executable, "-c", STEPS, *arguments], capture_output=True, text=True, check=True)
    return float(run.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted in kibibytes on Linux")
def test_memory_does_not_grow_with_the_number_of_lengths() -> None:
    assert growth("prepared") < growth() / 2
