"""`benchmark`: the speed of everything."""

from textadv.benchmark import suite
from textadv.commands.folder import run_folder
from textadv.commands.shared import prepared
from textadv.settings import Experiment, Options
from textadv.system.machine import device


def run(experiment: Experiment, options: Options) -> None:
    """Measure the speed of everything, side by side with a textbook implementation."""
    experiment, store = prepared(experiment)
    with run_folder("benchmark", experiment, options) as (_, metrics):
        metrics |= suite.benchmark(experiment, store, device(experiment.trainer), options.quick)
        print(suite.table(metrics))
