"""`benchmark`: the speed of everything."""

from dataclasses import asdict

from textadv.settings import Experiment


def benchmark(experiment: Experiment, quick: bool = False, output: str | None = None) -> None:
    """Measure the speed of everything beside a textbook implementation.

    Args:
        experiment: The corpus, sizes of the model and of the batches.
        quick: Fewer methods and rounds.
        output: Folder for everything the command writes; by default a new one under runs/.
    """
    from textadv.benchmark import suite
    from textadv.benchmark.textbook import require_textbook
    from textadv.commands.folder import run_folder
    from textadv.commands.shared import prepared, require_language_model
    from textadv.system.machine import device

    require_textbook(experiment.finetuning)
    require_language_model(experiment.model, "benchmark")
    experiment, store = prepared(experiment)
    with run_folder("benchmark", output, asdict(experiment)) as (_, metrics):
        metrics |= suite.benchmark(experiment, store, device(experiment.trainer), quick)
        print(suite.table(metrics))
