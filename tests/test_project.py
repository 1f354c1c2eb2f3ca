"""What holds the repository together: configs, pins, dependencies, wrong input, and what the documents say."""

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
import yaml
from jsonargparse import ArgumentParser
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from textadv import cli
from textadv.system.versions import versions

ROOT = Path(__file__).parents[1]
GRIDS = ROOT / "configs" / "experiments"  # read by `experiment`; tests/experiments/test_plan.py reads them
PRESETS = ROOT / "configs" / "presets"  # tests/test_presets.py reads them
CONFIGS = [path for path in sorted((ROOT / "configs").rglob("*.yaml")) if path.parent not in (GRIDS, PRESETS)]
DOCUMENTS = [
    *sorted(ROOT.glob("README*.md")),
    ROOT / "CONTRIBUTING.md",
    ROOT / "data/README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
PROGRAM = re.compile(r"(\w+=\S+ )*(\.venv/bin/)?(textadv|python train\.py)(?!\S)")
OTHER_FLAGS = {"--check"}  # of ruff
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DIRECT = [Requirement(text) for text in PROJECT["dependencies"]]
TEST_EXTRA = [Requirement(text) for text in PROJECT["optional-dependencies"]["test"]]
DOCS_EXTRA = [Requirement(text) for text in PROJECT["optional-dependencies"]["docs"]]
OTHER_EXTRA = [
    Requirement(text)
    for extra in ("experiments", "export", "sklearn", "transformers")
    for text in PROJECT["optional-dependencies"][extra]
]
PIN_LINES = [
    line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")
]
PIN = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>\d[0-9a-z.]*)")  # no "+cpu", no address, no option
IMPORTED_AS = {"pyyaml": "yaml", "scikit-learn": "sklearn"}
OF_A_CUDA_BUILD = ("cuda-", "nvidia-", "triton")

Command = Callable[..., tuple[int | str | None, str, str]]


@pytest.fixture(scope="module")
def parser() -> ArgumentParser:
    """Building it takes longer than all that is done with it."""
    return cli.build_parser()


@pytest.fixture
def textadv(parser: ArgumentParser, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command line in this process, as far as a command that must not start: exit code, stdout, stderr."""

    def run(*arguments: str) -> tuple[int | str | None, str, str]:
        monkeypatch.setattr(sys, "argv", ["textadv", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return stop.value.code, *capsys.readouterr()

    monkeypatch.setattr(cli, "build_parser", lambda: parser)
    return run


def _pins() -> dict[str, str]:
    matches = [PIN.fullmatch(line) for line in PIN_LINES]
    return {match["name"]: match["version"] for match in matches if match}


def _needed(requirements: list[Requirement]) -> Iterator[str]:
    """Names of all packages that the requirements bring along here, read from what is installed."""
    pins, pending, seen = _pins(), list(requirements), set()
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        if name.startswith(OF_A_CUDA_BUILD) or (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        yield name
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            continue
        if installed.version.partition("+")[0] != pins.get(name):
            continue  # another version may need other packages
        for text in installed.requires or ():
            needed = Requirement(text)
            extras = {"", *requirement.extras}
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                pending.append(needed)


def _imported(folder: str) -> set[str]:
    """Libraries that the modules of a folder import anywhere, the standard library and our own code left out."""
    names = set()
    for file in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.split(".")[0])
    return names - sys.stdlib_module_names - {"textadv"}


def _import_name(requirement: Requirement) -> str:
    name = canonicalize_name(requirement.name)
    return IMPORTED_AS.get(name, name.replace("-", "_"))


def _documented_commands() -> list[str]:
    """The arguments of every call of textadv in a shell block of a document, each once."""
    blocks = [block for document in DOCUMENTS for block in re.findall(r"```bash\n(.*?)```", document.read_text(), re.S)]
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    pieces = [piece.strip() for line in lines for piece in re.split(r"&&|\||&$", line)]
    calls = [PROGRAM.match(piece) for piece in pieces]
    return list(dict.fromkeys(piece[call.end() :] for piece, call in zip(pieces, calls, strict=True) if call))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_config_is_a_short_complete_experiment(parser: ArgumentParser, path: Path) -> None:
    parsed = parser.parse_args(["finetune", "--config", str(path)])
    data = parser.instantiate(parsed)["finetune"].data
    assert data.source or data.train
    assert len(path.read_text(encoding="utf-8").splitlines()) < 40


def test_the_quickstart_reads_its_config(parser: ArgumentParser) -> None:
    assert cli.QUICKSTART_CONFIG in CONFIGS
    assert parser.parse_args(["quickstart"]).quickstart.data.source == "builtin"


def test_every_constraint_is_one_exact_public_version() -> None:
    assert [line for line in PIN_LINES if not PIN.fullmatch(line)] == []
    assert len(_pins()) == len(PIN_LINES)


def test_the_constraints_fit_the_declared_dependencies() -> None:
    pins = _pins()
    for requirement in DIRECT + TEST_EXTRA + DOCS_EXTRA:
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement


def test_nothing_that_is_needed_lacks_a_pin() -> None:
    assert sorted(set(_needed(DIRECT + TEST_EXTRA + DOCS_EXTRA)) - set(_pins())) == []


def test_the_package_depends_on_exactly_what_it_imports() -> None:
    optional = {"tensorboard"}  # used where it is installed
    assert _imported("textadv") == {_import_name(requirement) for requirement in DIRECT + OTHER_EXTRA} | optional
    assert set(OTHER_EXTRA) <= set(TEST_EXTRA)


def test_a_missing_package_is_in_the_extra_that_is_named() -> None:
    calls = [
        [argument.value if isinstance(argument, ast.Constant) else None for argument in node.args]
        for file in (ROOT / "textadv").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "missing_package"
    ]
    assert {extra for *_, extra in calls} == {"experiments", "export", "transformers"}
    for _, package, extra in calls:
        needed = {Requirement(text).name for text in PROJECT["optional-dependencies"][extra]}
        assert package is None or package in needed


def test_files_that_are_not_python_are_in_the_wheel() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    packed = {
        ROOT.joinpath(*package.split("."), name)
        for package, names in tool["setuptools"]["package-data"].items()
        for name in names
    }
    files = {file for file in (ROOT / "textadv").rglob("*") if file.is_file() and file.suffix not in (".py", ".pyc")}
    assert files == packed


def test_the_citation_is_that_of_this_version() -> None:
    """What format 1.2 requires (https://citation-file-format.github.io), and the paper, as docs/METHOD.md has it."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert all(citation[key] for key in ("message", "title", "authors"))
    assert (citation["type"], citation["version"], citation["license"]) == (
        "software",
        PROJECT["version"],
        PROJECT["license"],
    )
    (paper,) = citation["references"]
    authors = ", ".join(f"{author['given-names']} {author['family-names']}" for author in paper["authors"])
    methods = " ".join((ROOT / "docs" / "METHOD.md").read_text(encoding="utf-8").split())
    assert f"{authors}. {paper['title']}. ICLR {paper['year']}." in methods
    assert paper["url"] in methods


def test_the_tests_import_only_what_is_declared() -> None:
    declared = {_import_name(requirement) for requirement in DIRECT + TEST_EXTRA}
    helpers = {file.stem for folder in ("tests", "tests/stand_ins") for file in (ROOT / folder).iterdir()}
    assert _imported("tests") <= declared | helpers | {"packaging"}  # which pytest itself needs


@pytest.mark.parametrize("command", [[], *([name] for name in cli.COMMANDS)], ids=" ".join)
def test_help_is_given(textadv: Command, command: list[str]) -> None:
    code, out, err = textadv(*command, "--help")
    assert code == 0
    usage, _, rest = out.partition("\n")
    assert usage.startswith("usage: textadv")
    assert set(command) <= set(usage.split())
    assert all(name in rest for name in cli.COMMANDS if not command)
    assert all(f"--{key} " in rest for name in command for key in cli.keys(cli.COMMANDS[name]))
    assert err == ""


def test_the_version_is_one_line(textadv: Command) -> None:
    assert textadv("--version") == (0, "textadv {textadv}, torch {torch}, Python {python}\n".format(**versions()), "")


@pytest.mark.parametrize(
    ("arguments", "culprit"),
    [
        (["nonsense"], "'nonsense'"),
        (["finetune", "--finetuning.epsilonn", "3"], "--finetuning.epsilonn"),
        (["finetune", "--finetuning.epsilon", "large"], '"finetuning.epsilon"'),
        (["finetune", "--finetuning.method", "vatt"], '"finetuning.method"'),
        (["--finetuning.steps", "1.5"], '"finetuning.steps"'),
        (["--finetuning.step", "1"], "--finetuning.step"),  # no abbreviations
        (["predict", "--split", "test"], "--split"),
        (["finetune", "--config", "no/such/file.yaml"], "no/such/file.yaml"),
    ],
)
def test_a_wrong_argument_is_one_line_and_exit_code_2(textadv: Command, arguments: list[str], culprit: str) -> None:
    code, out, err = textadv(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("textadv: error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert culprit in err


@pytest.mark.parametrize(
    ("content", "culprit"),
    [
        ("finetuning:\n  epsilom: 3.0\n", "finetuning.epsilom"),
        ("fine-tuning:\n  epsilon: 3.0\n", "fine-tuning"),
        ("pretraining:\n  steps: many\n", "pretraining.steps"),
        ("model:\n  pooling: first\n", "model.pooling"),
        ("data: [1, 2]\n", '"data"'),
        ("finetuning: {\n", "config.yaml"),
        ("", "config.yaml"),
    ],
)
def test_a_wrong_config_is_one_line_and_exit_code_2(
    textadv: Command, tmp_path: Path, content: str, culprit: str
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(content, encoding="utf-8")
    code, out, err = textadv("finetune", "--config", str(config))
    assert (code, out) == (2, "")
    assert err.startswith("textadv: error: ")
    assert err.count("\n") == 1
    assert culprit in err


def test_the_command_line_is_imported_without_the_heavy_libraries() -> None:
    program = "import sys, textadv.cli; print(*{'torch', 'numpy', 'pytorch_lightning'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


@pytest.mark.parametrize("command", _documented_commands())
def test_a_documented_command_is_accepted(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.chdir(ROOT)
    cli.parse(shlex.split(command, comments=True))


def test_documented_flags_exist(textadv: Command) -> None:
    helps = "".join(textadv(*command, "--help")[1] for command in ([], *([name] for name in cli.COMMANDS)))
    known = set(re.findall(r"--[a-z][\w.-]*", helps)) | OTHER_FLAGS
    for document in DOCUMENTS:
        code = re.findall(r"`([^`\n]+)`", document.read_text(encoding="utf-8"))
        assert {flag for text in code for flag in re.findall(r"(?<!\S)--[a-z][\w.-]*", text)} - known == set(), document


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "CHANGELOG.md"], ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target, section in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", document.read_text(encoding="utf-8")):
        file = document.parent / target if target else document
        assert file.exists(), target
        if section:
            titles = re.findall(r"^#+ (.*)", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert section in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_lower_bounds_leave_out_versions_with_known_holes() -> None:
    """Those that run code from a checkpoint (torch, Lightning), from arguments (tqdm) or from YAML."""
    last_bad = {"torch": "2.9.1", "pytorch-lightning": "2.6.5", "tqdm": "4.66.2", "PyYAML": "5.3.1"}
    specifiers = {requirement.name: requirement.specifier for requirement in DIRECT}
    for name, version in last_bad.items():
        assert not specifiers[name].contains(version)
