"""Coverage-guided fuzzing of all readers: pip install atheris; python .ci/fuzz.py -max_total_time=600.

The first byte of a case chooses the reader, the others are the file. Arguments are those of libFuzzer; the first
folder among them keeps the cases that reach new code.
"""

import sys
import tempfile
from pathlib import Path

import atheris

sys.path += [str(Path(__file__).parents[1] / folder) for folder in (".", "tests")]
with atheris.instrument_imports(include=["textadv", "json", "gzip", "tarfile"]):
    from test_fuzz import EXAMPLES, READERS, check_reader

FOLDER, SEEDS = Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp())


def one_case(case: bytes) -> None:
    """Any exception ends the run and leaves the case in a file."""
    check_reader(list(READERS)[case[0] % len(READERS)] if case else "csv", case[1:], FOLDER)


if __name__ == "__main__":
    for number, name in enumerate(READERS):
        (SEEDS / name).write_bytes(bytes([number]) + EXAMPLES[name])
    atheris.Setup([*sys.argv, str(SEEDS)], one_case)
    atheris.Fuzz()
