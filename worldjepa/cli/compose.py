"""Composes the configuration of a run from option files and the command line. Every mistake becomes one clear line."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldjepa.cli.keys import Tree, accepts, known, nearest_keys, unknown_key, walk
from worldjepa.cli.options import Library, check_option, open_library
from worldjepa.cli.overrides import Context, Override, read
from worldjepa.cli.usual import KEY, Usual, read_usual
from worldjepa.errors import UserError, suggest

if TYPE_CHECKING:
    from omegaconf import DictConfig

_EITHER = (
    ("run.steps", "run.epochs"),
    ("optim.warmup_steps", "optim.warmup_epochs", "optim.warmup_share"),
)


@dataclass(frozen=True)
class Composed:
    """A composed configuration and how it came about."""

    config: DictConfig
    overrides: list[str]
    """The command line in full, implied choices included: composing it again gives the same configuration."""
    notes: list[str]
    """The choices that were made for the user, a line each."""


def config_folder() -> Path:
    """The folder with the package's own option files: inside an installed wheel, or beside the package in a checkout.

    Raises:
        UserError: neither is there, so the installation is damaged.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "_configs", package.parent / "configs"):
        if (folder / "train.yaml").is_file():
            return folder
    raise UserError("the option files of worldjepa are missing: install the package again")


def compose_config(name: str, overrides: Sequence[str], config_dirs: Sequence[Path] = ()) -> Composed:
    """Compose the configuration `name` with what the command line says.

    A key that no file lists is accepted where the constructor named by the node's `_target_` has such a parameter.
    A modality brings its usual method and preset, and whoever brings data of their own is spared the toy-sized preset: see
    `Composed.notes`.

    Args:
        name: a file of the configuration folder, without `.yaml`.
        overrides: `key=value` words.
        config_dirs: more folders with groups and options.

    Raises:
        UserError: a group, option, key or value cannot be, a file has a mistake, or a reference leads nowhere.
    """
    return _Composition(name, open_library(config_folder(), config_dirs)).compose(overrides)


class _Composition:
    """One composition: the folders, and the steps from words to a configuration."""

    def __init__(self, name: str, library: Library) -> None:
        self.name = name
        self.library = library
        self.groups = library.groups()
        self.usual = read_usual(self.groups.get("modality", {}))
        self.notes: list[str] = []
        self.stamp = library.stamp()

    def compose(self, words: Sequence[str]) -> Composed:
        context = Context(self.groups, functools.cache(lambda: self._tree([])))
        given = read(words, context)
        choices = [word for override in given if override.key in self.groups for word in self._choice(override)]
        values = last_wins([override for override in given if override.key not in self.groups])
        timm = [word for word in choices if word.startswith("arch.")]
        choices = [word for word in choices if word not in timm]
        asked = {override.key for override in given}

        choices += self._implied_modality(choices, asked)
        usual = self.usual.get(self._hydra(choices)[1].get("modality") or "", Usual())
        choices += self._implied_method(choices, asked, usual)
        choices += self._implied_data(choices, values, asked, usual)
        choices = self._with_preset(choices, asked, usual)
        if "data" not in asked:
            choices += self._implied_embedded(choices, usual)
        tree = self._tree(choices)
        written = [self._value(override, tree) for override in (*read(timm, context), *values)]
        written += self._implied_nulls(values, tree)
        final = [*choices, *written]
        config, options = self._hydra(final)
        config = copy.deepcopy(config)  # the user's own: what is composed once is read by many
        self._check_files(config, options)
        self._check_method(options)
        try:
            check_references(config, complete=False)
        except UserError as error:
            raise self._of_another_modality(options) or error from error
        return Composed(config, final, self.notes)

    def _choice(self, override: Override) -> list[str]:
        """The words for a chosen option, its name checked."""
        group, value = override.key, override.value
        if override.delete:
            raise UserError(f"group '{group}' cannot be taken away; its options: {', '.join(self.groups[group])}")
        options = list(self.groups[group])
        if group == "arch" and isinstance(value, str) and value.startswith("timm:"):
            check_option(group, "timm", options)
            return ["arch=timm", f"arch.encoder.name={value.removeprefix('timm:')}"]
        if isinstance(value, list) and all(isinstance(part, str) for part in value):
            names = ",".join(check_option(group, part, options) for part in value)
            return [f"{group}=[{names}]"]
        if isinstance(value, Mapping) or value is None:
            raise UserError(f"{group}={override.text}: '{group}' takes the name of an option: {', '.join(options)}")
        return [f"{group}={check_option(group, override.text.strip(), options)}"]

    def _implied_modality(self, choices: Sequence[str], asked: set[str]) -> list[str]:
        """Choose the modality that data or preset belong to, unless it is given."""
        if "modality" in asked:
            return []
        chosen = self._hydra(choices)[1]
        here = self.usual.get(chosen.get("modality") or "", Usual())
        for group in ("data", "preset", "method"):
            name = chosen.get(group)
            if group not in asked or name in _belonging(here, group):
                continue
            for modality, usual in self.usual.items():
                if name in _belonging(usual, group):
                    self.notes.append(f"modality={modality}, because {group}={name} is given")
                    return [f"modality={modality}"]
        return []

    def _implied_method(self, choices: Sequence[str], asked: set[str], usual: Usual) -> list[str]:
        """Choose the modality's method, unless it is given."""
        if "method" in asked or usual.method in (None, self._hydra(choices)[1].get("method")):
            return []
        self.notes.append(f"method={usual.method}, because modality={self._hydra(choices)[1]['modality']}")
        return [f"method={usual.method}"]

    def _implied_data(
        self, choices: Sequence[str], values: Sequence[Override], asked: set[str], usual: Usual
    ) -> list[str]:
        """Choose the user's own kind of data when a key is given that only it has."""
        keys = [override.key for override in values if override.key.startswith("data.")]
        if not keys or "data" in asked:
            return []
        tree = self._tree(self._with_preset(choices, asked, usual, tell=False))
        missing = [key for key in keys if not _fits(tree, key)]
        takes: dict[str, list[str]] = {}
        for option in usual.own if missing else ():
            here = self._tree([*choices, f"data={option}"])
            takes[option] = [key for key in missing if _fits(here, key)]
            if takes[option] == missing:  # no other can be better, and each takes a while to compose
                break
        best = max(takes, key=lambda option: len(takes[option]), default=None)  # of equals the first
        if best is None or not takes[best]:
            return []
        self.notes.append(f"data={best}, because {takes[best][0]} is given")
        return [f"data={best}"]

    def _with_preset(self, choices: Sequence[str], asked: set[str], usual: Usual, tell: bool = True) -> list[str]:
        """Add the modality's preset, the full-size one for data of the user's own, unless one is given."""
        chosen = self._hydra(choices)[1]
        own = chosen.get("data") in usual.own
        preset = usual.own_preset if own else usual.preset
        if "preset" in asked or preset in (None, chosen.get("preset")):
            return [*choices]
        if tell and own:
            self.notes.append(
                f"preset={preset}, because data={chosen['data']} is yours; preset={usual.preset} keeps the small model"
            )
        elif tell:
            self.notes.append(f"preset={preset}, because modality={chosen['modality']}")
        return [*choices, f"preset={preset}"]

    def _implied_embedded(self, choices: Sequence[str], usual: Usual) -> list[str]:
        """Choose the modality's embedded data where nobody has chosen any: those of the file itself are another's."""
        chosen = self._hydra(choices)[1]
        default = self._hydra([])[1].get("data")
        if not usual.embedded or chosen.get("data") != default or default in _belonging(usual, "data"):
            return []
        self.notes.append(f"data={usual.embedded[0]}, because modality={chosen['modality']}")
        return [f"data={usual.embedded[0]}"]

    def _implied_nulls(self, values: Sequence[Override], tree: Tree) -> list[str]:
        """Of two keys that exclude each other, clear the one that comes from a file when the user gives the other."""
        given = {override.key for override in values}
        cleared = []
        for names in _EITHER:
            for one, other in permutations(names, 2):
                node, _, missing = walk(tree, other)
                chosen = any(override.key == one and override.value is not None for override in values)
                if chosen and other not in given and not missing and node is not None:
                    self.notes.append(f"{other}=null, because {one} is given")
                    cleared.append(f"{other}=null")
        return cleared

    def _value(self, override: Override, tree: Tree) -> str:
        """The word for a value; Hydra's `+` is put before keys that only a constructor knows."""
        if not walk(tree, override.key)[2]:
            # A mapping is merged into what is there, and may bring keys that are not.
            return override.written("++" if isinstance(override.value, Mapping) else "")
        if not override.delete and accepts(tree, override.key):
            return override.written("+")
        raise self._unknown(override.key, tree)

    def _check_files(self, config: DictConfig, options: Mapping[str, str | None]) -> None:
        from omegaconf import DictConfig as Mapped

        for group in self.groups:
            if group in config and not isinstance(config[group], Mapped):
                raise UserError(f"{group}={options.get(group)}: the option's file must hold `key: value` lines")

    def _check_method(self, options: Mapping[str, str | None]) -> None:
        """Refuse a method that is for other modalities than the one that is chosen."""
        method, modality = options.get("method"), options.get("modality") or ""
        takes = self.usual.get(modality, Usual()).methods
        owners = [name for name, usual in self.usual.items() if method in (*usual.methods, *usual.also)]
        if method is None or (method in takes if takes else not owners or modality in owners):
            return
        fits = owners or [name for name, usual in self.usual.items() if not usual.methods]
        also = self.usual.get(modality, Usual()).also
        near = takes or [name for name in self.groups["method"] if name in also or not self._owned(name)]
        raise UserError(
            f"method={method} is for modality={' or '.join(fits)}; modality={modality} takes method={', '.join(near)}"
        )

    def _owned(self, method: str) -> bool:
        return any(method in (*usual.methods, *usual.also) for usual in self.usual.values())

    def _of_another_modality(self, options: Mapping[str, str | None]) -> UserError | None:
        """The reason why references lead nowhere, where the data are those of another modality."""
        modality, data = options.get("modality") or "", options.get("data")
        here = _belonging(self.usual.get(modality, Usual()), "data")
        others = [name for name, usual in self.usual.items() if data in _belonging(usual, "data")]
        if not data or not here or data in here or not others:
            return None
        near = ", ".join(name for name in here if name)
        return UserError(f"data={data} is for modality={others[0]}; modality={modality} takes data={near}")

    def _unknown(self, key: str, tree: Tree) -> UserError:
        if "." in key or "/" in key:
            return unknown_key(key, tree)
        near = suggest(key, [*self.groups, *tree]) if not nearest_keys(key, known(tree)) else ""
        return (
            UserError(f"key '{key}' is not known{near}; groups: {', '.join(self.groups)}")
            if near
            else unknown_key(key, tree)
        )

    def _tree(self, choices: Sequence[str]) -> Tree:
        from omegaconf import OmegaConf

        tree: dict[str, Any] = OmegaConf.to_container(self._hydra(choices)[0], resolve=False)  # type: ignore[assignment]
        return tree

    def _hydra(self, words: Sequence[str]) -> tuple[DictConfig, Mapping[str, str | None]]:
        """Compose; returns the configuration, to be read only, and the option that was chosen in each group."""
        return _by_hydra(self.name, self.library, self.stamp, tuple(words))


@functools.lru_cache(maxsize=256)
def _by_hydra(
    name: str, library: Library, stamp: int, words: tuple[str, ...]
) -> tuple[DictConfig, Mapping[str, str | None]]:
    """Compose the same words once only, for as long as no option file changes: one command asks several times."""
    import yaml  # type: ignore[import-untyped]
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf import DictConfig, open_dict
    from omegaconf.errors import OmegaConfBaseException

    own, *more = library.folders
    try:
        with initialize_config_dir(str(own), version_base="1.3"):
            config = compose(name, overrides=[*_searchpath(more), *words], return_hydra_config=True)
    except yaml.MarkedYAMLError as error:
        raise _bad_yaml(error) from error
    except MissingConfigException as error:
        raise _missing_option(error) from error
    except UnicodeDecodeError as error:
        raise UserError(f"an option file is not UTF-8 text: {error}") from error
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise UserError(f"the configuration cannot be composed: {_reason(error)}") from error
    options = dict(config.hydra.runtime.choices)
    with open_dict(config):
        del config["hydra"]
        if isinstance(config.get("modality"), DictConfig):
            config.modality.pop(KEY, None)  # it says how to compose, and has done so
    return config, options


def last_wins(values: Sequence[Override]) -> list[Override]:
    """Of several values for one key the last. Mappings stay, since they are merged, and so do deletions."""
    last = {override.key: override for override in values}
    return [
        override
        for override in values
        if override is last[override.key] or override.delete or isinstance(override.value, Mapping)
    ]


def _belonging(usual: Usual, group: str) -> tuple[str | None, ...]:
    """The options of `data`, `preset` or `method` that are a modality's."""
    if group == "method":
        return (*usual.methods, *usual.also)
    return (*usual.embedded, *usual.own) if group == "data" else (usual.preset, usual.own_preset)


def _fits(tree: Tree, key: str) -> bool:
    return not walk(tree, key)[2] or accepts(tree, key)


def _searchpath(folders: Sequence[Path]) -> list[str]:
    if not folders:
        return []
    quoted = ",".join("'file://" + str(folder).replace("'", r"\'") + "'" for folder in folders)
    return [f"hydra.searchpath=[{quoted}]"]


def _bad_yaml(error: Any) -> UserError:
    mark = error.problem_mark or error.context_mark
    place = f"{mark.name}, line {mark.line + 1}" if mark else "an option file"
    return UserError(f"{place}: not valid YAML: {error.problem}")


def _missing_option(error: Any) -> UserError:
    first = str(error).splitlines()[0]
    name = re.search(r"'([^']+)'[^']*$", first)
    options = list(error.options or [])
    near = suggest(name[1].rpartition("/")[2], options) if name else ""
    return UserError(f"{first}{near}" + (f"; options: {', '.join(options)}" if options else ""))


def _reason(error: BaseException) -> str:
    """The first line of an error that has one: Hydra leaves the message empty where it only passes a cause on."""
    cause: BaseException | None = error
    while cause is not None:
        if str(cause).strip():
            lines = str(cause).splitlines()
            key = next((line.split(":", 1)[1].strip() for line in lines if line.strip().startswith("full_key:")), "")
            return f"{key}: {lines[0]}" if key else lines[0]
        cause = cause.__cause__
    return type(error).__name__


def check_references(config: DictConfig, complete: bool = True) -> None:
    """Follow every reference to another key.

    Args:
        config: the configuration.
        complete: whether a reference to a key that still waits for its value is a mistake.

    Raises:
        UserError: one leads to a key that is not there or has no value, or cannot be read.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import InterpolationKeyError, InterpolationToMissingValueError, OmegaConfBaseException

    try:
        OmegaConf.to_container(config, resolve=True)
    except InterpolationKeyError as error:
        tree: dict[str, Any] = OmegaConf.to_container(config, resolve=False)  # type: ignore[assignment]
        wanted = re.search(r"'([^']+)'", str(error))
        near = nearest_keys(wanted[1], [key for key in known(tree) if key != error.full_key]) if wanted else []
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        raise UserError(
            f"{error.full_key} refers to a key that is not there: {str(error).splitlines()[0]}{hint}"
        ) from error
    except InterpolationToMissingValueError as error:
        if complete:
            raise UserError(f"a value is still missing: {_reason(error)}") from error
    except OmegaConfBaseException as error:
        raise UserError(f"a reference in the configuration cannot be followed: {_reason(error)}") from error
