"""PythonQt's conventions over PySide6: a Qt object as Slicer's Python sees it.

Checked against PythonQt (MeVisLab/pythonqt, the upstream of Slicer's fork commontk/PythonQt):
- src/PythonQtClassInfo.cpp (lookup: property before method; `name` is another word for objectName),
- src/PythonQtInstanceWrapper.cpp (PythonQtInstanceWrapper_getattro: property, method, signal, dynamic property, named
  child; _setattro: properties only, no new attributes on C++ objects),
- src/PythonQtConversion.cpp (PyObjToQVariant: any value to a bool by its truth, any to a str, a float to an int by
  floor),
- src/PythonQtSignal.cpp (connect, disconnect, emit of a signal), src/PythonQtSignalReceiver.cpp
  (PythonQtSignalTarget::call: a slot gets no more arguments than it takes; its exception is printed, the signal goes
  on),
- src/PythonQtStdDecorators.h (what every QObject can do: connect, disconnect, parent, children, findChild, property,
  ...).
"""

from __future__ import annotations

import json
import math
import traceback
import types
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import shiboken6
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

from .refusal import NotKnownError, not_known

MEMBERS = json.loads((Path(__file__).parent / "qt_members.json").read_text(encoding="utf-8"))
QT_SOURCE = "PythonQt's generated_cpp_515/ (methods) and in the class's documentation for Qt 5.15 and Qt 6"

# What waits for a user: in a test nobody answers.
MODAL = {"exec", "exec_"}
MODAL_CLASSES = {"QMessageBox", "QFileDialog", "QInputDialog"}

# Signals that PySide6 has and Qt 5 has not: there they do not exist in Slicer (stable versions run on Qt 5.15).
QT6_SIGNALS = {"checkStateChanged"}

_slot_errors: list[BaseException] = []
_classes: dict[type, type[QtObject]] = {}


class ModalDialogError(RuntimeError):
    """Code under test wanted to wait for a user."""


def record_slot_errors(errors: list[BaseException]) -> None:
    """Append the exceptions of Python slots to this list from now on."""
    global _slot_errors
    _slot_errors = errors


class BoundSignal:
    """One signal of one object: connect, disconnect, emit, and a call that emits."""

    def __init__(self, owner: QtObject, name: str, signature: str) -> None:
        self._owner = owner
        self._name = name
        self._signature = signature

    def connect(self, slot: Callable[..., Any]) -> bool:
        """Connect a Python callable."""
        return self._owner._connect(self._signature, slot)

    def disconnect(self, slot: Callable[..., Any] | None = None) -> bool:
        """Disconnect one callable, or all when none is given."""
        return self._owner._disconnect(self._signature, slot)

    def emit(self, *arguments: Any) -> None:
        """Emit the signal."""
        _native_signal(self._owner._native, self._signature)[0].emit(*[unwrap(item) for item in arguments])

    __call__ = emit

    def __repr__(self) -> str:
        return f"<qt signal {self._signature} of {type(self._owner).__name__}>"


class BoundMethod:
    """One C++ method of one object."""

    def __init__(self, owner: QtObject, name: str) -> None:
        self._owner = owner
        self._name = name

    def __call__(self, *arguments: Any) -> Any:
        if self._name in MODAL:
            raise ModalDialogError(f"{type(self._owner).__name__}.{self._name}() would wait for a user")
        return wrap(getattr(self._owner._native, self._name)(*[unwrap(item) for item in arguments]))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BoundMethod) and (other._owner, other._name) == (self._owner, self._name)

    def __hash__(self) -> int:
        return hash((id(self._owner), self._name))


class QtClass(type):
    """A class of the module qt: calling it makes an object; enum values and static functions are its attributes."""

    _native_class: Any
    _static: frozenset[str]

    def __call__(cls, *arguments: Any) -> Any:
        native = cls._native_class(*[unwrap(item) for item in arguments])
        return wrap(native)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        for base in cls.__mro__:
            if name in vars(base).get("_static", ()):
                return _static_function(base, name)
        value = getattr(cls._native_class, name, None)
        if _is_enum_value(value):
            return value
        raise not_known(f"qt.{cls.__name__}.{name}", QT_SOURCE)


def _static_function(cls: Any, name: str) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        if cls.__name__ in MODAL_CLASSES:
            raise ModalDialogError(f"qt.{cls.__name__}.{name}() would wait for a user")
        # A QTimer.singleShot callback is a slot: its exception is printed, not raised.
        values = [
            guarded(item) if isinstance(item, types.FunctionType | types.MethodType) else unwrap(item)
            for item in arguments
        ]
        return wrap(getattr(cls._native_class, name)(*values))

    return call


def _is_enum_value(value: Any) -> bool:
    import enum

    return isinstance(value, enum.Enum) or (isinstance(value, int) and not isinstance(value, bool))


class QtObject(metaclass=QtClass):
    """A QObject: see the module's docstring for what its attributes are."""

    _native_class: ClassVar[Any] = QtCore.QObject
    _methods: ClassVar[frozenset[str]] = frozenset()
    _static: ClassVar[frozenset[str]] = frozenset()
    _native: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not vars(cls).get("_declared_by_standin"):
            raise not_known(
                f"a Python class derived from {cls.__mro__[1].__name__}", "PythonQtShell classes of PythonQt"
            )

    # What PythonQtStdDecorators gives every QObject.

    def connect(self, signal: str, slot: Callable[..., Any]) -> bool:
        """Connect a signal, given by its C++ signature, to a callable."""
        if not callable(slot):
            raise TypeError(f"connect({signal!r}, ...) needs a callable, not {slot!r}")
        return self._connect(signal, slot)

    def disconnect(self, signal: str, slot: Callable[..., Any] | None = None) -> bool:
        """Disconnect one callable, or all; False when there was no such connection."""
        return self._disconnect(signal, slot)

    def parent(self) -> Any:
        """Return the parent object."""
        return wrap(self._native.parent())

    def setParent(self, parent: Any) -> None:
        """Set the parent object."""
        self._native.setParent(unwrap(parent))

    def children(self) -> tuple[Any, ...]:
        """Return the direct children."""
        return tuple(wrap(child) for child in self._native.children())

    def findChild(self, kind: Any, name: str = "") -> Any:
        """Return the first descendant of a class (and a name), None where there is none."""
        found = self.findChildren(kind, name)
        return found[0] if found else None

    def findChildren(self, kind: Any, name: str = "") -> tuple[Any, ...]:
        """Return all descendants of a class (and a name)."""
        native_kind = kind._native_class if isinstance(kind, QtClass) else QtCore.QObject
        found = [child for child in self._native.findChildren(native_kind) if not name or child.objectName() == name]
        wrapped = [wrap(child) for child in found]
        return tuple(child for child in wrapped if not isinstance(kind, str) or child.className() == kind)

    def property(self, name: str) -> Any:
        """Return a declared or dynamic property, None where there is none."""
        return wrap(self._native.property(name))

    def setProperty(self, name: str, value: Any) -> bool:
        """Set a declared or dynamic property; False when it was dynamic (QObject::setProperty)."""
        return bool(self._native.setProperty(name, unwrap(value)))

    def className(self) -> str:
        """Return the C++ class's name."""
        return type(self).__name__

    def inherits(self, name: str) -> bool:
        """Return whether the C++ class is or derives from this one."""
        return any(base.__name__ == name for base in type(self).__mro__)

    def delete(self) -> None:
        """Delete the C++ object."""
        shiboken6.delete(self._native)

    # Attributes.

    def _valid(self, name: str) -> Any:
        if not shiboken6.isValid(self._native):
            raise ValueError(f"Trying to use {name!r} of a destroyed {type(self).__name__} object")
        return self._native

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        native = self._valid(name)
        name = "objectName" if name == "name" else name
        meta = native.metaObject()
        if meta.indexOfProperty(name) >= 0:
            return wrap(native.property(name))
        signature = _signature_of(native, name)
        if signature is not None:
            return BoundSignal(self, name, signature)
        if _has_method(type(self), native, name) or (name == "exec_" and hasattr(native, "exec")):
            return BoundMethod(self, name)
        if name.encode() in [bytes(item.data()) for item in native.dynamicPropertyNames()]:
            return wrap(native.property(name))
        value = getattr(type(native), name, None)
        if _is_enum_value(value):
            return value
        for child in native.children():
            if child.objectName() == name:
                return wrap(child)
        raise not_known(f"{type(self).__name__}.{name}", getattr(native, "source", QT_SOURCE))

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_native":
            object.__setattr__(self, name, value)
            return
        native = self._valid(name)
        name = "objectName" if name == "name" else name
        meta = native.metaObject()
        index = meta.indexOfProperty(name)
        if index >= 0:
            if not meta.property(index).isWritable():
                raise AttributeError(f"Property '{name}' of {type(self).__name__} object is not writable")
            native.setProperty(name, _converted(meta.property(index), value))
        elif name.encode() in [bytes(item.data()) for item in native.dynamicPropertyNames()]:
            native.setProperty(name, unwrap(value))
        else:
            kind = type(self).__name__
            raise NotKnownError(f"'{name}' does not exist on {kind}; C++ objects get no new attributes from Python")

    def __dir__(self) -> list[str]:
        meta = self._native.metaObject()
        return sorted({meta.property(i).name() for i in range(meta.propertyCount())} | set(super().__dir__()))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of the stand-in, name {self._native.objectName()!r}>"

    # Connections.

    def _connect(self, signature: str, slot: Callable[..., Any]) -> bool:
        signal, count = _native_signal(self._valid(signature), signature)
        handler = _with_arity(guarded(slot), count)
        _connections(self._native).append((_normalised(signature), slot, handler))
        signal.connect(handler)
        return True

    def _disconnect(self, signature: str, slot: Callable[..., Any] | None) -> bool:
        signal, _ = _native_signal(self._valid(signature), signature)
        connections = _connections(self._native)
        for connection in list(connections):
            if connection[0] == _normalised(signature) and (slot is None or connection[1] == slot):
                signal.disconnect(connection[2])
                connections.remove(connection)
                if slot is not None:
                    return True
        return slot is None


def guarded(slot: Callable[..., Any]) -> Callable[..., None]:
    """Return a slot that takes no more arguments than `slot` does and whose exception is printed and recorded.

    PythonQtSignalTarget::call: a plain function or method without *args gets at most co_argcount arguments, anything
    else that can be called gets them all.
    """
    count = None
    function = slot.__func__ if isinstance(slot, types.MethodType) else slot
    if isinstance(function, types.FunctionType) and not function.__code__.co_flags & 0x04:  # CO_VARARGS
        count = function.__code__.co_argcount - isinstance(slot, types.MethodType)

    def call(*values: Any) -> None:
        try:
            slot(*[wrap(value) for value in values[:count]])
        except Exception as error:
            traceback.print_exc()
            _slot_errors.append(error)

    return call


def _with_arity(call: Callable[..., None], count: int) -> Callable[..., None]:
    """Return the same with a fixed number of arguments: PySide chooses the overload of a signal by it."""
    fixed: list[Callable[..., None]] = [
        lambda: call(),
        lambda a: call(a),
        lambda a, b: call(a, b),
        lambda a, b, c: call(a, b, c),
    ]
    return fixed[count]


def _connections(native: Any) -> list[tuple[str, Callable[..., Any], Callable[..., None]]]:
    if not hasattr(native, "_standin_connections"):
        native._standin_connections = []
    return native._standin_connections  # type: ignore[no-any-return]


def _normalised(signature: str) -> str:
    return bytes(QtCore.QMetaObject.normalizedSignature(signature).data()).decode()


def _signals(native: Any) -> dict[str, str]:
    """Return every signal: C++ signature -> name of the attribute of the PySide object."""
    # Stand-in widgets emit Python objects where C++ emits a node; `cpp_signals` gives the signatures that C++ has.
    found = dict(getattr(native, "cpp_signals", {}))
    hidden = set(found.values())
    meta = native.metaObject()
    for index in range(meta.methodCount()):
        method = meta.method(index)
        if method.methodType() == QtCore.QMetaMethod.MethodType.Signal:
            name = bytes(method.name().data()).decode()
            if name not in hidden and name not in QT6_SIGNALS:
                found[bytes(method.methodSignature().data()).decode()] = name
    return found


def _signature_of(native: Any, name: str) -> str | None:
    # A signal with default values comes first with all its arguments, then as clones with fewer.
    matching = [signature for signature in _signals(native) if signature.split("(")[0] == name]
    return matching[0] if matching else None


def _native_signal(native: Any, signature: str) -> tuple[Any, int]:
    signals = _signals(native)
    wanted = _normalised(signature)
    if wanted not in signals:
        known = [item for item in signals if item.split("(")[0] == wanted.split("(")[0]]
        hint = f"; there is {', '.join(known)}" if known else ""
        raise not_known(
            f"the signal {signature} of {native.metaObject().className()}{hint}", getattr(native, "source", QT_SOURCE)
        )
    arguments = wanted[wanted.index("(") + 1 : -1]
    return getattr(native, signals[wanted]), len(arguments.split(",")) if arguments else 0


def _has_method(cls: type, native: Any, name: str) -> bool:
    if any(name in vars(base).get("_methods", ()) for base in cls.__mro__):
        return True
    meta = native.metaObject()
    for index in range(meta.methodCount()):
        method = meta.method(index)
        if (
            method.methodType() in (QtCore.QMetaMethod.MethodType.Slot, QtCore.QMetaMethod.MethodType.Method)
            and method.access() == QtCore.QMetaMethod.Access.Public
            and bytes(method.name().data()).decode() == name
            and hasattr(native, name)
        ):
            return True
    return False


def _converted(declared: Any, value: Any) -> Any:
    """Convert as PythonQtConv::PyObjToQVariant; stricter for text, where None would become "None"."""
    kind = declared.typeName()
    if kind == "bool":
        return bool(value)
    if kind in ("int", "uint") and isinstance(value, float):
        return math.floor(value)
    if kind == "double":
        return float(value)
    if kind == "QString":
        if value is None:
            raise AttributeError(f"Property '{declared.name()}' takes a text; None would be shown as \"None\"")
        return str(value)
    if kind == "QStringList":
        return [str(item) for item in value]
    if kind == "int" and not isinstance(value, int):
        raise AttributeError(f"Property '{declared.name()}' of type 'int' does not accept {value!r}")
    return unwrap(value)


def unwrap(value: Any) -> Any:
    """Return what PySide6 takes for a value of Slicer's Python."""
    if isinstance(value, QtObject):
        return value._native
    if isinstance(value, list | tuple):
        return [unwrap(item) for item in value]
    return value


def wrap(value: Any) -> Any:
    """Return what Slicer's Python sees of a value of PySide6: the same object for the same C++ object."""
    if isinstance(value, QtCore.QObject):
        existing = getattr(value, "_standin_object", None)
        existing = existing() if existing is not None else None
        if existing is None:
            existing = object.__new__(_class_for(type(value)))
            existing._native = value
            value._standin_object = weakref.ref(existing)
        return existing
    if isinstance(value, list):
        return tuple(wrap(item) for item in value)
    return value


def _class_for(native_class: type) -> type[QtObject]:
    for base in native_class.__mro__:
        if base in _classes:
            return _classes[base]
    raise not_known(f"the Qt class {native_class.__name__}", QT_SOURCE)


def declare(native_class: Any, methods: str = "", static: str = "", name: str | None = None) -> Any:
    """Make the class that Slicer's Python sees of a PySide6 class; its bases are those declared before."""
    base = _class_for(native_class) if native_class is not QtCore.QObject else QtObject
    fields = {
        "_declared_by_standin": True,
        "_native_class": native_class,
        "_methods": frozenset(methods.split()),
        "_static": frozenset(static.split()),
    }
    cls = QtClass(name or native_class.__name__, (base,), fields)
    _classes[native_class] = cls
    return cls


def _native_class(name: str) -> Any:
    for module in (QtCore, QtGui, QtWidgets, QtUiTools):
        if hasattr(module, name):
            return getattr(module, name)
    raise ImportError(name)


# Values, not QObjects: they have methods only, in PythonQt as in PySide6.
VALUES = [
    "QColor",
    "QCursor",
    "QDateTime",
    "QDir",
    "QFileInfo",
    "QFont",
    "QIcon",
    "QKeySequence",
    "QLocale",
    "QMargins",
    "QPalette",
    "QPixmap",
    "QPoint",
    "QRect",
    "QSize",
    "QSizePolicy",
    "QSpacerItem",
    "QSysInfo",
    "QUrl",
]


class Namespace:
    """qt.Qt: enum values only."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(QtCore.Qt, name, None)
        if _is_enum_value(value):
            return value
        raise not_known(f"qt.Qt.{name}", QT_SOURCE)


class QtModule(types.ModuleType):
    """The module `qt` or `ctk`."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise not_known(f"{self.__name__}.{name}", QT_SOURCE if self.__name__ == "qt" else "Libs/Widgets of CTK")


def create_module() -> QtModule:
    """Return the module `qt`, its classes declared base classes first."""
    module = QtModule("qt", __doc__)
    natives = [_native_class(name) for name in MEMBERS if name != "about"]
    for native in sorted(natives, key=lambda cls: len(cls.__mro__)):
        members = MEMBERS[native.__name__]
        if issubclass(native, QtCore.QObject):
            setattr(module, native.__name__, declare(native, members["methods"], members["static"]))
    for name in VALUES:
        setattr(module, name, _native_class(name))
    module.Qt = Namespace()  # type: ignore[attr-defined]
    return module
