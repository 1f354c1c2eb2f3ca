"""The configs that come with textadv, found by name: `imdb/small` is `configs/imdb/small.yaml`."""

from pathlib import Path

from textadv.errors import InputError

PACKAGE = Path(__file__).parents[1]
# A wheel has a copy of them in the package (`setup.py`); a checkout has them beside it, and no copy.
FOLDER = next((place for place in (PACKAGE / "configs", PACKAGE.parent / "configs") if place.is_dir()), PACKAGE)


def named_configs() -> dict[str, Path]:
    """File of each config by its name, sorted."""
    files = sorted(FOLDER.rglob("*.yaml"))
    return {file.relative_to(FOLDER).with_suffix("").as_posix(): file for file in files}


def find_config(name: str) -> str:
    """Find a config.

    Args:
        name: Path of a YAML file, or the name of a config that comes with textadv; a file that is there wins.

    Returns:
        Path of the file.

    Raises:
        InputError: There is neither; the message lists the names.
    """
    if Path(name).is_file():
        return name
    known = named_configs()
    if name not in known:
        raise InputError(f"--config {name}: no such file, and no config of that name; there are {', '.join(known)}")
    return str(known[name])
