"""The rules of the house, as tests: who imports whom, how errors read, where tests are."""

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "patchwise"
TESTS = Path(__file__).parent
BASE = {
    "checks", "configs", "distributed", "environment", "errors", "files", "normalisation",
    "randomness", "types", "version",
}  # fmt: skip
# Each folder or file, and what it may import besides the base and itself.
MAY_IMPORT: dict[str, set[str]] = {
    **{name: set() for name in BASE},
    "ops": set(),
    "losses": {"ops"},
    "augment": {"ops"},
    "models": {"ops"},
    "data": {"ops"},
    "methods": {"augment", "losses", "models", "ops"},
    "training": {"data", "methods", "models", "ops"},
    "features": {"data", "models", "ops"},
    "index": {"data", "features", "models", "ops"},
    "eval": {"augment", "data", "features", "models", "ops"},
    "pictures": {"augment", "data", "models", "ops"},
    "reporting": {"eval", "pictures"},
    "recipes": {"data", "models"},
    "listing": {"eval", "recipes"},
    "checkup": {"data", "training"},
    "api": {
        "checkup",
        "data",
        "eval",
        "features",
        "index",
        "methods",
        "models",
        "pictures",
        "recipes",
        "reporting",
        "training",
    },
    "demo": {"api", "data", "eval", "features", "models", "training"},
    "commands": {"api"},
    "cli": {"api", "checkup", "commands", "demo", "listing"},
    "__main__": {"cli"},
    "__init__": {"api", "checkup", "data", "eval", "losses", "methods", "models", "ops"}
    | {"features", "recipes", "training"},
}
# The base does without torch, so that `--help` is instant; these use it or may be handed tensors.
WITH_TORCH = {"normalisation", "types", "distributed", "environment"}
MOST_LINES, MOST_FUNCTION_LINES = 300, 80


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part_of(file: Path) -> str:
    """The folder, or the file right below the package, that a file belongs to."""
    first = file.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported(file: Path) -> set[str]:
    """All modules that a file imports, anywhere in it."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    modules = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module == "patchwise":
            modules |= {f"patchwise.{alias.name}" for alias in node.names}
    return modules


def test_every_folder_is_known() -> None:
    assert {part_of(file) for file in files()} - MAY_IMPORT.keys() == set()


def test_folders_import_only_downwards() -> None:
    wrong = []
    for file in files():
        parts = {m.split(".")[1] for m in imported(file) if m.startswith("patchwise.")}
        extra = parts - BASE - MAY_IMPORT[part_of(file)] - {part_of(file)}
        if extra:
            wrong.append(f"{file.relative_to(PACKAGE)} imports {sorted(extra)}")
    assert not wrong, "\n".join(wrong)


def test_the_report_knows_only_the_types_of_results() -> None:
    """It renders: what it shows was computed elsewhere."""
    evaluation = {
        module
        for file in files()
        if part_of(file) == "reporting"
        for module in imported(file)
        if module.startswith("patchwise.eval")
    }
    assert evaluation == {"patchwise.eval.results"}


def test_settings_need_no_torch() -> None:
    wrong = [
        str(file.relative_to(PACKAGE))
        for file in files()
        if part_of(file) in BASE - WITH_TORCH and part_of(file) != "checks"
        if any(module.split(".")[0] == "torch" for module in imported(file))
    ]
    assert not wrong


def test_error_messages_are_one_string_that_says_what_it_got() -> None:
    ours = set(re.findall(r"class (\w+)", (PACKAGE / "errors.py").read_text(encoding="utf-8")))
    wrong = []
    for file in files():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)):
                continue
            if ast.unparse(node.exc.func) not in ours:
                continue
            text = ast.unparse(node.exc.args[0]) if len(node.exc.args) == 1 else ""
            if " must " not in text or "got " not in text or not text.startswith("f"):
                wrong.append(f"{file.name}:{node.lineno} {ast.unparse(node.exc)}")
    assert not wrong, "\n".join(wrong)


def test_every_source_file_has_its_test_file() -> None:
    missing = [
        str(file.relative_to(PACKAGE))
        for file in files()
        if file.name not in {"__init__.py", "__main__.py"}
        if not (TESTS / file.relative_to(PACKAGE).with_name(f"test_{file.name}")).exists()
    ]
    assert not missing


def test_files_and_functions_are_short() -> None:
    wrong = []
    for file in files():
        text = file.read_text(encoding="utf-8")
        if text.count("\n") > MOST_LINES:
            wrong.append(f"{file.name}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                if lines > MOST_FUNCTION_LINES:
                    wrong.append(f"{file.name}: {node.name} has {lines} lines")
    assert not wrong


def test_no_file_is_a_drawer_for_everything() -> None:
    banned = {"utils", "util", "helpers", "common", "misc"}
    assert not [file for file in files() if file.stem in banned or file.parent.name in banned]


def test_code_is_never_found_by_name() -> None:
    """But for the package's own table of public names, and for the user's code."""
    names = {"import_module", "__import__"}
    allowed = {PACKAGE / "__init__.py", PACKAGE / "api" / "importing.py"}
    wrong = [
        f"{file.name}: {node.id if isinstance(node, ast.Name) else node.attr}"
        for file in files()
        if file not in allowed
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Name) and node.id in names)
        or (isinstance(node, ast.Attribute) and node.attr in names)
    ]
    assert not wrong
