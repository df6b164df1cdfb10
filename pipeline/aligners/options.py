"""What a method can be told, as one frozen value. The options of each method are a class of its own below
`TrainingOptions`, which holds what all of them have."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from functools import cache
from numbers import Integral, Real
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from structure.pipeline.aligners.bounds import Bounds
from structure.pipeline.aligners.presets import PRESETS
from structure.pipeline.aligners.registry import ALIGNERS
from structure.store.errors import StructureError, unknown

Value = TypeVar("Value")
DEFAULT_METHOD = "linear"

Idle = dict[str, tuple[str, Any]]
"""Options that change nothing: name -> (the option that it hangs on, a value of that one with which it counts)."""

RENAMED = {"rate": "learning_rate"}
"""Old names of options, which presets, recipes and --set take until the next minor version."""

FLAGS = {"learning_rate": "--lr"}
"""Options whose flag is not their name."""

MOST_SEED = 2**31 - 1
"""Seeds are multiplied on the way to those of single batches, which must fit 64 bits."""


SYNONYMS = {
    "lr": "learning_rate",
    "regularizer": "regulariser",
    "regularization": "regulariser",
    "regularisation": "regulariser",
    "lambda": "weight",
    "batch_size": "batch",
    "wd": "weight_decay",
    "tau": "temperature",
    "width": "dim",
    "embedding_dim": "dim",
    "hidden_dim": "hidden",
    "max_epochs": "epochs",
    "num_epochs": "epochs",
    "early_stopping": "patience",
    "centering": "centring",
    "random_state": "seed",
}
"""What other programs call an option, for a better suggestion than spelling gives."""


def option(
    default: Value,
    about: str,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> Value:
    """A field of an options class: its default, its help, and the range of a number (see `Bounds`)."""
    given: Any = field(default=default, metadata={"about": about, "bounds": Bounds(above, least, below, most)})
    return given  # type: ignore[no-any-return]


@dataclass(frozen=True, kw_only=True, init=False)
class TrainingOptions:
    """Every choice of a run. `TrainingOptions(method="csa", ridge=0.1)` gives the options of that method.

    Raises StructureError for an option that the method does not have, a name that is none of its choices, or a number
    that makes no sense.
    """

    method: str = option(DEFAULT_METHOD, "How the two layers are brought into one space.")
    validation: float = option(
        0.1, "Share of the pairs held out to select the epoch, where no pairs are given.", above=0, below=1
    )
    refit: bool = option(False, "Then fit once more to all pairs, for as many epochs as the selection chose.")
    seed: int = option(42, "Of the split, the batches and the first weights.", least=0, most=MOST_SEED)
    device: str = option("auto", "auto, cpu, cuda or cuda:0.")

    def __new__(cls, **values: Any) -> TrainingOptions:
        # Python then calls `__init__` of the class of what is returned, with the same arguments.
        method = values.get("method", DEFAULT_METHOD)
        owner = options_class(method)
        made = owner if cls is TrainingOptions else cls
        if values and made is not owner:
            raise StructureError(
                f"The options of {method} are {owner.__name__}, not {made.__name__}. "
                f"Write options.changed(method={method!r})."
            )
        for name in values:
            if name not in option_names(method):
                raise no_option([method], name)
        return object.__new__(made)

    def __post_init__(self) -> None:
        hints = _types(self.method)
        for one in fields(self):
            value, choices = getattr(self, one.name), _choices(hints[one.name])
            if choices and value not in choices:
                raise unknown(one.name, str(value), [str(choice) for choice in choices])
            if not _is_of(value, _kinds(hints[one.name])):
                raise StructureError(f"{_called(one.name)} is {value!r}; it must be {_taken(_kinds(hints[one.name]))}.")
            bounds: Bounds = one.metadata["bounds"]
            if isinstance(value, Real) and not isinstance(value, bool) and float(value) not in bounds:
                raise StructureError(f"{_called(one.name)} is {value}; it must be {bounds}.")

    @property
    def uses_structure(self) -> bool:
        """Whether R_S is part of what is minimised."""
        return False

    @property
    def idle(self) -> Idle:
        """Options that change nothing as the others are now."""
        return {}

    @classmethod
    def preset(cls, name: str, **changes: Any) -> TrainingOptions:
        """The options of `changes["method"]` under a preset (`default`, `paper`, `released`), with changes.

        Of the preset a method takes what it has. Raises StructureError for a preset that is not there or has nothing of
        the method, and as the constructor does for the changes.
        """
        if name not in PRESETS:
            raise unknown("preset", name, PRESETS)
        changes = renamed(changes)
        chosen = changes.get("method", DEFAULT_METHOD)
        known = {key: value for key, value in PRESETS[name].items() if key in option_names(chosen)}
        own = ALIGNERS[chosen].presets.get(name, {})
        known |= own or {}
        is_plain = TrainingOptions(method=chosen, **known) == TrainingOptions(method=chosen)
        if PRESETS[name] and (own is None or (is_plain and not own)):
            raise StructureError(
                f"The preset {name} sets no option of the method {chosen}: it would change nothing. "
                "Leave the preset out, or choose another method."
            )
        return TrainingOptions(**{**known, **changes})

    def changed(self, **changes: Any) -> TrainingOptions:
        """These options with changes; for another `method` those that both have and that are not the default.

        Raises StructureError as the constructor does.
        """
        kept = self.to_dict()
        if changes.get("method", self.method) != self.method:
            names = option_names(changes["method"])
            plain = {one.name: one.default for one in fields(self)}
            kept = {name: value for name, value in kept.items() if name in names and value != plain[name]}
        return TrainingOptions(**{**kept, **changes})

    @classmethod
    def parse(cls, name: str, text: str) -> Any:
        """The value of the option `name`, of whichever method, that a text such as `10`, `true` or `none` means.

        Raises StructureError for an option that no method has, and for a text that is no value of its type.
        """
        name = RENAMED.get(name, name)
        kinds = {kind for method in owners(name) for kind in _kinds(_types(method)[name])}
        if not kinds:
            raise unknown_option(name, all_option_names())
        if type(None) in kinds and text.lower() == "none":
            return None
        if bool in kinds and text.lower() in ("true", "false"):
            return text.lower() == "true"
        for kind in (int, float):
            if kind in kinds:
                try:
                    return kind(text)
                except ValueError:
                    continue
        if str in kinds:
            return text
        raise StructureError(f"{name}={text!r}: {name} takes {_taken(kinds)}.")

    def to_dict(self) -> dict[str, Any]:
        """The options that the method has, as JSON values; `TrainingOptions(**them)` is the same value."""
        return asdict(self)


def options_class(method: str) -> type[TrainingOptions]:
    """The options class of a method. Raises StructureError with the nearest names."""
    found: type[TrainingOptions] = ALIGNERS[method].options_class
    return found


def option_names(method: str) -> tuple[str, ...]:
    """The options that a method has. Raises StructureError where there is no such method."""
    return tuple(_types(method))


def owners(name: str) -> list[str]:
    """The methods that have the option `name`."""
    return [method for method in ALIGNERS if name in option_names(method)]


def all_option_names() -> list[str]:
    """The options of all methods, each once."""
    return list(dict.fromkeys(name for method in ALIGNERS for name in option_names(method)))


def renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values under the names of today; an old name is told as a FutureWarning."""
    for old in RENAMED.keys() & values.keys():
        warnings.warn(
            f"The training option {old!r} is called {RENAMED[old]!r} now; the next minor version takes that alone.",
            FutureWarning,
            stacklevel=3,
        )
    return {RENAMED.get(name, name): value for name, value in values.items()}


def applicable(values: Mapping[str, Any]) -> dict[str, Any]:
    """Of options that several methods were given, those that `values["method"]` has."""
    known = option_names(values.get("method", DEFAULT_METHOD))
    return {name: value for name, value in renamed(values).items() if name in known}


def no_option(methods: Sequence[str], name: str) -> StructureError:
    """An option that none of the methods has."""
    if name in RENAMED:
        return StructureError(f"The training option {name!r} is called {RENAMED[name]!r} now.")
    have = owners(name)
    if not have:
        return unknown_option(name, [known for one in methods for known in option_names(one)])
    own, told = list(dict.fromkeys(known for one in methods for known in option_names(one))), ", ".join(methods)
    return StructureError(
        f"The method{'' if len(methods) == 1 else 's'} {told} {'has' if len(methods) == 1 else 'have'} no option "
        f"{name!r}{f' ({FLAGS[name]})' if name in FLAGS else ''}: it would change nothing. Leave it out, or choose "
        f"another method. Methods with it: {', '.join(have)}. Options of {told}: {', '.join(own)}."
    )


def unknown_option(name: str, known: Iterable[str]) -> StructureError:
    """`name` is no option of any method: the one that is meant, where that can be told, or all of the `known`."""
    known = list(dict.fromkeys(known))
    meant = SYNONYMS.get(name.lower().replace("-", "_"))
    close = [meant] if meant in known else get_close_matches(name.lower(), known, n=3, cutoff=0.75)
    offer = f"Did you mean {' or '.join(close)}?" if close else f"Known: {', '.join(known)}."
    return StructureError(f"Unknown training option {name!r}. {offer}")


def flagged(name: str) -> str:
    """The option as a message calls it: with its flag where that is another word."""
    return f"{name} ({FLAGS[name]})" if name in FLAGS else name


def _called(name: str) -> str:
    """How a message calls an option."""
    return "The learning rate" if name == "learning_rate" else name


@cache
def _types(method: str) -> dict[str, Any]:
    """The type of each option of a method by name."""
    options = options_class(method)
    hints = get_type_hints(options)
    return {one.name: hints[one.name] for one in fields(options)}


def _parts(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or the type itself."""
    return (hint,) if get_origin(hint) is Literal else get_args(hint) or (hint,)


def _choices(hint: Any) -> tuple[Any, ...]:
    """What a Literal allows; nothing for other types."""
    return get_args(hint) if get_origin(hint) is Literal else ()


def _kinds(hint: Any) -> set[type]:
    """The plain types of an option's values."""
    return {kind for part in _parts(hint) for kind in ([type(choice) for choice in _choices(part)] or [part])}


def _is_of(value: Any, kinds: set[type]) -> bool:
    """Whether a value is of one of the types; whole numbers are numbers, true and false are none."""
    if isinstance(value, bool) or value is None:
        return type(value) in kinds
    if isinstance(value, Integral):
        return bool(kinds & {int, float})
    return float in kinds if isinstance(value, Real) else isinstance(value, tuple(kinds))


def _taken(kinds: set[type]) -> str:
    """The types of an option's values, in words."""
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "none"}
    return " or ".join(word for kind, word in words.items() if kind in kinds)
