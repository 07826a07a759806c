"""A reader of pickles that can build plain containers, texts, numbers and what it is told of, and nothing else.

A pickle is a program for a small stack machine, and Python's own machine can import and call anything.  This one is a
table of what each instruction does; the instructions of a state dict are in it, and those that make objects of unknown
classes are not.  Where a program names a global, the name is looked up in a table of the caller's, and that is all that
happens: there is no import here to be guarded.

A program is also bounded in what it costs.  It may have a million instructions, each of which takes bounded time and
makes one object: an empty one, or one in proportion to the bytes it was read from.  Nothing here follows the objects
from one to the next, so that neither deep nor circular ones do harm.

References
----------
The instructions: module ``pickletools`` of the standard library, which reads them; its comments describe the machine.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from .mapped import Refused, shown

__all__ = ["Global", "read_pickle"]

_MOST = 1_000_000  # instructions; a tensor takes about 25
_MOST_ARGUMENTS = 16  # of one call; PyTorch's have 8
_PLAIN_KEYS = (str, int, float, bool, type(None))
_LARGEST_KEY = 1 << 60  # larger numbers may share one hash, all of a file's
_MARK = object()


class Global(NamedTuple):
    """A class or function that a pickle may name.

    Attributes
    ----------
    name : str
        Module and name, as in ``"collections.OrderedDict"``.
    call : callable or None
        Returns what a call of it in the pickle does; takes the arguments, which may be anything.
    """

    name: str
    call: Callable[..., Any] | None = None


def read_pickle(
    stream: Any, known: Iterable[Global] = (), persistent: Callable[[Any], Any] | None = None
) -> Any:
    """Return what a pickle describes.

    Parameters
    ----------
    stream : object with read, readline and tell
        Stands behind the pickle's end afterwards.
    known : iterable of Global
        All that the pickle may refer to, besides ordered dicts, which become dicts.
    persistent : callable, optional
        Returns the object behind a persistent identity; takes what the pickle has for that.

    Raises
    ------
    Refused
        If it is no whole pickle, or has anything that is not read here.

    Examples
    --------
    >>> import io, pickle
    >>> read_pickle(io.BytesIO(pickle.dumps({"a": [1, 2.5, None]}, 2)))
    {'a': [1, 2.5, None]}
    """
    machine = _Machine(known, persistent)
    try:
        for count, (instruction, argument, _) in enumerate(pickletools.genops(stream)):
            if count + machine.copied > _MOST:
                raise Refused(f"has a pickle of more than {_MOST:,} steps")
            machine.step(instruction.name, argument)
        return machine.pop()
    except Refused:
        raise
    except (ValueError, TypeError, LookupError, OverflowError, Warning):  # the machine or genops met nonsense
        raise Refused("holds no whole pickle: it is cut short or damaged") from None


class _Machine:
    """The stack and the memo, and what the instructions do to them."""

    def __init__(self, known: Iterable[Global], persistent: Callable[[Any], Any] | None) -> None:
        ordered = Global("collections.OrderedDict", self.ordered_dict)
        self.known = {each.name: each for each in (*known, ordered)}
        self.persistent = persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.copied = 0  # items copied by ordered_dict: the work that no instruction stands for

    def step(self, name: str, argument: Any) -> None:
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            self.stack.append(argument)
        elif name in _METHODS:
            _METHODS[name](self, argument)
        elif name not in _NOTHING:
            raise Refused(f"has a pickle with {name}: only tensors and plain containers are read")

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError
        return value

    def pop_many(self, count: int) -> list[Any]:
        return [self.pop() for _ in range(count)][::-1]

    def pop_to_mark(self) -> list[Any]:
        values = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def store(self, index: int) -> None:
        self.push(value := self.pop())
        self.memo[index] = value

    def find(self, name: str) -> None:
        if name not in self.known:
            raise Refused(f"refers to {shown(name)}: only tensors and plain containers are read")
        self.push(self.known[name])

    def find_on_stack(self) -> None:
        name, module = self.pop(), self.pop()
        if type(name) is not str or type(module) is not str:
            raise ValueError
        self.find(f"{module}.{name}")

    def call(self) -> None:
        arguments, function = self.pop(), self.pop()
        if type(arguments) is not tuple or type(function) is not Global or function.call is None:
            raise Refused("has a pickle that calls what is no function")
        if len(arguments) > _MOST_ARGUMENTS:  # one instruction may repeat a tuple of any length
            raise Refused(f"has a pickle that calls {function.name} with {len(arguments)} arguments")
        self.push(function.call(*arguments))

    def append(self, values: Iterable[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise ValueError
        target.extend(values)

    def set_items(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(values) % 2:
            raise ValueError
        for key, value in zip(values[::2], values[1::2], strict=True):
            if type(key) not in _PLAIN_KEYS:  # the hash of a tuple would go down all that is in it
                raise Refused(f"has a pickle with a {type(key).__name__} for a key")
            if type(key) is int and abs(key) > _LARGEST_KEY:
                raise Refused("has a pickle with a number beyond 2^60 for a key")
            target[key] = value

    def set_attributes(self) -> None:
        """Drop the attributes of an ordered dict, such as a state dict's _metadata."""
        self.pop()
        if type(self.stack[-1]) is not dict:
            raise Refused("has a pickle that sets attributes of what is no dict")

    def load_persistent(self) -> None:
        if self.persistent is None:
            raise Refused("has a pickle with a tensor where none can be")
        self.push(self.persistent(self.pop()))

    def ordered_dict(self, items: Any = ()) -> dict[Any, Any]:
        """Return a dict of pairs: Python 2 wrote them as one list, Python 3 sets them afterwards."""
        if type(items) not in (list, tuple) or any(
            type(pair) is not list or len(pair) != 2 for pair in items
        ):
            raise ValueError
        self.copied += len(items)
        self.push({})
        self.set_items([value for pair in items for value in pair])
        return self.pop()


# What each instruction does.  A method takes the machine and the instruction's argument.

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": (), "MARK": _MARK}
_LITERALS = (
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING"),
)
_NOTHING = ("PROTO", "FRAME", "STOP")
_METHODS: dict[str, Callable[[_Machine, Any], None]] = {
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_to_mark())),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.pop_many(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.pop_many(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.pop_many(3))),
    "APPEND": lambda machine, _: machine.append([machine.pop()]),
    "APPENDS": lambda machine, _: machine.append(machine.pop_to_mark()),
    "SETITEM": lambda machine, _: machine.set_items(machine.pop_many(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    "BINGET": lambda machine, index: machine.push(machine.memo[index]),
    "LONG_BINGET": lambda machine, index: machine.push(machine.memo[index]),
    "BINPUT": lambda machine, index: machine.store(index),
    "LONG_BINPUT": lambda machine, index: machine.store(index),
    "MEMOIZE": lambda machine, _: machine.store(len(machine.memo)),
    "GLOBAL": lambda machine, names: machine.find(names.replace(" ", ".", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.find_on_stack(),
    "REDUCE": lambda machine, _: machine.call(),
    "BUILD": lambda machine, _: machine.set_attributes(),
    "BINPERSID": lambda machine, _: machine.load_persistent(),
}
