"""An import hook that makes the packages' annotations, shapes included, checked at every call.

jaxtyping's own hook also decorates functions inside functions, which `torch.compile` cannot trace; this one leaves them
alone and steps aside while PyTorch traces, so that compiled and checked code can be tested in one process.
"""

from __future__ import annotations

import ast
import functools
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

import torch
from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintPep585DeprecationWarning, BeartypeDecorHintPep3119Exception
from jaxtyping import TypeCheckError, jaxtyped

DECORATOR = "_annotations_checked"
CONF = BeartypeConf(is_pep484_tower=True)  # an integer is a float, as for mypy


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its annotations checked, except while PyTorch traces it.

    Protocols that are for type checkers alone cannot be checked here; functions that name one stay as they are.
    """
    with warnings.catch_warnings():
        # Other packages' classes, met in our annotations, are built on old spellings.
        warnings.simplefilter("ignore", BeartypeDecorHintPep585DeprecationWarning)
        try:
            typed = jaxtyped(typechecker=beartype(conf=CONF))(function)
        except BeartypeDecorHintPep3119Exception:
            return function

    wrong = f"checking the parameters of {function.__module__}.{function.__qualname__}."

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling():
            return function(*args, **kwargs)
        try:
            return typed(*args, **kwargs)
        except TypeCheckError as error:
            if wrong in str(error):
                function(*args, **kwargs)  # which may refuse such arguments itself, in words that a test looks for
            raise

    return call


class Decorate(ast.NodeTransformer):
    """Decorates functions and methods, but not what is inside them."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        # Innermost: other decorators may drop annotations or make something that is not a function.
        node.decorator_list.append(ast.Name(DECORATOR, ast.Load()))
        return node


class Loader(SourceFileLoader):
    """Loads a module with its functions decorated; never from or to a bytecode cache."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        tree = Decorate().visit(ast.parse(self.get_data(path), path))
        return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        setattr(module, DECORATOR, checked)
        super().exec_module(module)


class Finder(MetaPathFinder):
    """Finds the modules of some packages, as ever, and gives them that loader."""

    def __init__(self, packages: Sequence[str]) -> None:
        self.packages = packages

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in self.packages:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = Loader(spec.loader.name, spec.loader.path)
        return spec


def install(*packages: str) -> None:
    """Check the annotations of packages that have not been imported yet."""
    loaded = [name for name in sys.modules if name.partition(".")[0] in packages]
    if loaded:
        raise RuntimeError(f"too late to check the annotations of {', '.join(loaded)}: they are imported already")
    sys.meta_path.insert(0, Finder(packages))
