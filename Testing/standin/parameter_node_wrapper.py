"""slicer.parameterNodeWrapper: typed members whose values live in a vtkMRMLScriptedModuleNode.

Our own code with the contract of Base/Python/slicer/parameterNodeWrapper/ in Slicer: wrapper.py (decorator, methods,
reserved names, caching), serializers.py (how a value is written into the node), validators.py, default.py,
guiConnectors.py (Decimals, SingleStep). Only the member types in `_serializer_for` are known: packs, lists, unions
and others are refused.
"""

from __future__ import annotations

import enum
import inspect
import logging
import pathlib
import typing
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import slicer
import vtk

from .refusal import not_known

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Exclude",
    "Maximum",
    "Minimum",
    "NotNone",
    "SingleStep",
    "Validator",
    "WithinRange",
    "findChildWidgetForParameter",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
]

SOURCE = "Base/Python/slicer/parameterNodeWrapper"
PARAMETER_NAME_PROPERTY = "SlicerParameterName"  # wrapper.py: SlicerParameterNamePropertyName


class Validator:
    """Base of the validators (validators.py: Validator); a wrong value is a ValueError."""

    def validate(self, value: Any) -> None:
        """Raise ValueError when the value is not allowed."""
        raise NotImplementedError


class NotNone(Validator):
    """validators.py: NotNone."""

    def validate(self, value: Any) -> None:
        if value is None:
            raise ValueError("Value must not be None")


class WithinRange(Validator):
    """validators.py: WithinRange, both ends allowed."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum = minimum
        self.maximum = maximum

    def validate(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


class Minimum(Validator):
    """validators.py: Minimum."""

    def __init__(self, minimum: float) -> None:
        self.minimum = minimum

    def validate(self, value: Any) -> None:
        if value < self.minimum:
            raise ValueError(f"Value must be at least {self.minimum}, is {value}")


class Maximum(Validator):
    """validators.py: Maximum."""

    def __init__(self, maximum: float) -> None:
        self.maximum = maximum

    def validate(self, value: Any) -> None:
        if value > self.maximum:
            raise ValueError(f"Value must be at most {self.maximum}, is {value}")


class Choice(Validator):
    """validators.py: Choice."""

    def __init__(self, choices: typing.Sequence[Any]) -> None:
        self.choices = choices

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"Value is {value}, but must be one of {self.choices}")


class Exclude(Validator):
    """validators.py: Exclude."""

    def __init__(self, excludedValues: typing.Sequence[Any]) -> None:
        self.excludedValues = excludedValues

    def validate(self, value: Any) -> None:
        if value in self.excludedValues:
            raise ValueError(f"Value is {value}, which is excluded")


class Default:
    """default.py: the default of a member, a value or a generator called at each request."""

    def __init__(self, value: Any = None, *, generator: Callable[[], Any] | None = None) -> None:
        self._value = value
        self._generator = generator

    @property
    def value(self) -> Any:
        """The default."""
        return self._generator() if self._generator else self._value


@dataclass
class Decimals:
    """guiConnectors.py: Decimals."""

    value: int


@dataclass
class SingleStep:
    """guiConnectors.py: SingleStep."""

    value: float


@dataclass(frozen=True)
class Serializer:
    """How one type is written into a parameter node and read back (serializers.py)."""

    accepted: type | tuple[type, ...]
    none_allowed: bool
    default: Any
    write: Callable[[Any, str, Any], None]
    read: Callable[[Any, str], Any]

    def validate(self, value: Any) -> None:
        """Raise ValueError for None and TypeError for a wrong type (validators.py: NotNone, IsInstance)."""
        if value is None:
            if not self.none_allowed:
                raise ValueError("Value must not be None")
        elif not isinstance(value, self.accepted):
            raise TypeError(f"Value must be of type {self.accepted}, is {type(value)} {value!r}")


def _text_serializer(
    accepted: type | tuple[type, ...], default: Any, parse: Callable[[str], Any], text: Callable[[Any], str] = str
) -> Serializer:
    return Serializer(
        accepted,
        none_allowed=False,
        default=default,
        write=lambda node, name, value: node.SetParameter(name, text(value)),
        read=lambda node, name: parse(node.GetParameter(name)),
    )


def _write_node(node: Any, name: str, value: Any) -> None:
    # NodeSerializer.write: an empty parameter says that the member was set, the value is a reference of the same name.
    node.SetParameter(name, "")
    node.SetNodeReferenceID(name, None if value is None else value.GetID())


def _serializer_for(member_type: Any) -> Serializer:
    if member_type is bool:
        return _text_serializer(bool, False, lambda text: text == "True")
    if member_type is int:
        return _text_serializer(int, 0, int)
    if member_type is float:
        return _text_serializer((int, float), 0, float)
    if member_type is str:
        return _text_serializer(str, "", str)
    if member_type is pathlib.Path:
        return _text_serializer(pathlib.Path, pathlib.Path(), pathlib.Path)
    if inspect.isclass(member_type) and issubclass(member_type, enum.Enum):
        first = next(iter(member_type))
        return _text_serializer(member_type, first, lambda key: member_type[key], lambda value: value.name)
    if inspect.isclass(member_type) and issubclass(member_type, slicer.vtkMRMLNode):
        return Serializer(member_type, True, None, _write_node, lambda node, name: node.GetNodeReference(name))
    raise not_known(f"a parameter of type {member_type}", f"{SOURCE}/serializers.py")


class Member:
    """One annotated member of the wrapped class."""

    def __init__(self, owner: type, name: str, hint: Any) -> None:
        member_type, *annotations = typing.get_args(Annotated[hint, "end"])[:-1]
        self.name = name
        self.hint = hint
        self.serializer = _serializer_for(member_type)
        self.validators = [note for note in annotations if isinstance(note, Validator)]
        defaults = [note for note in annotations if isinstance(note, Default)]
        if len(defaults) > 1:
            raise Exception("Multiple defaults found")  # default.py: extractDefault raises a bare Exception too
        others = [note for note in annotations if not isinstance(note, (Validator, Default))]
        if hasattr(owner, name):
            self.default = Default(getattr(owner, name))
            others += defaults
        else:
            self.default = defaults[0] if defaults else Default(self.serializer.default)
        if others:
            logging.warning(f"Unused annotations: {others}")

    def write(self, node: Any, name: str, value: Any) -> None:
        """Validate and write; the type first, then the validators in their order (ValidatedSerializer)."""
        self.serializer.validate(value)
        for validator in self.validators:
            validator.validate(value)
        self.serializer.write(node, name, value)


class CachedValue:
    """One member's value in one node, read again when the node says Modified (wrapper.py: _CachedParameterWrapper)."""

    def __init__(self, member: Member, node: Any, prefix: str) -> None:
        self._member = member
        self._node = node
        self._name = prefix + member.name
        self._value = self._from_node()
        self._writing = False
        this = weakref.ref(self)

        def refresh(caller: Any, event: str) -> None:
            value = this()
            if value is not None and not value._writing:
                value._value = value._from_node()

        self._tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, refresh)

    def __del__(self) -> None:
        if hasattr(self, "_tag"):
            self._node.RemoveObserver(self._tag)

    def _from_node(self) -> Any:
        # Closing the scene empties a singleton node and says Modified: the defaults are written again, as in
        # wrapper.py: _Parameter.read.
        if not self._node.HasParameter(self._name):
            self._member.write(self._node, self._name, self._member.default.value)
        return self._member.serializer.read(self._node, self._name)

    def read(self) -> Any:
        """Return the cached value."""
        return self._value

    def write(self, value: Any) -> None:
        """Write and cache before any other observer hears of it."""
        self._writing = True
        try:
            with slicer.util.NodeModify(self._node):
                self._member.write(self._node, self._name, value)
                self._value = self._from_node()
        finally:
            self._writing = False


class Wrapper:
    """The methods that the decorator adds (wrapper.py: _processClass); their names are reserved."""

    allParameters: typing.ClassVar[dict[str, Member]]
    _is_parameter_node_wrapper = True

    def _member(self, name: str) -> Member:
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}, there are {list(self.allParameters)}")
        return self.allParameters[name]

    def default(self, paramName: str) -> Default:
        """Return the Default of a member, not its value (wrapper.py: _default)."""
        return self._member(paramName).default

    def isCached(self, paramName: str) -> bool:
        """Return True: every type known here supports caching (serializers.py: supportsCaching)."""
        self._member(paramName)
        return True

    @classmethod
    def dataType(cls, membername: str) -> Any:
        """Return a member's type with its annotations."""
        if membername not in cls.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {membername}")
        return cls.allParameters[membername].hint

    def getValue(self, name: str) -> Any:
        """Read a member by name."""
        self._member(name)
        return self._values[name].read()

    def setValue(self, name: str, value: Any) -> None:
        """Write a member by name."""
        self._member(name)
        self._values[name].write(value)

    def connectGui(self, gui: Any) -> int:
        """Bind every child widget with the property SlicerParameterName; return a tag for disconnectGui."""
        import qt

        if getattr(gui, "isWidgetType", lambda: False)():
            widgets = gui.findChildren(qt.QWidget)
        else:
            widgets = list(vars(gui).values())
        names = [(widget.property(PARAMETER_NAME_PROPERTY), widget) for widget in widgets]
        return self.connectParametersToGui({name: widget for name, widget in names if name})

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        """Bind widgets by member name: value to widget now and at each Modified, widget to value at each change."""
        from .parameter_gui import create_connector

        for name in mapping:
            self._member(name)
        connectors = {name: create_connector(widget, self.dataType(name)) for name, widget in mapping.items()}
        tag = self._next_tag
        self._next_tag += 1
        self._guis[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.connect(self._gui_changed(name, connector))
        self._gui_observers[tag] = self.AddObserver(
            vtk.vtkCommand.ModifiedEvent, lambda caller, event: self._update_gui()
        )
        return tag

    def disconnectGui(self, guiTag: int) -> None:
        """Undo one connectGui."""
        for connector in self._guis.pop(guiTag, {}).values():
            connector.disconnect()
        observer = self._gui_observers.pop(guiTag, None)
        if observer is not None:
            self.RemoveObserver(observer)

    def _gui_changed(self, name: str, connector: Any) -> Callable[[], None]:
        def changed() -> None:
            with slicer.util.NodeModify(self):
                if not self._updating_gui:
                    self.setValue(name, connector.read())

        return changed

    def _update_gui(self) -> None:
        if self._updating_gui:
            return
        self._updating_gui = True
        try:
            with slicer.util.NodeModify(self):
                for connectors in list(self._guis.values()):
                    for name, connector in connectors.items():
                        connector.write(self.getValue(name))
        finally:
            self._updating_gui = False

    def StartModify(self) -> int:
        """Begin a batch of changes of the node."""
        return int(self.parameterNode.StartModify())

    def EndModify(self, wasModified: int) -> int:
        """End a batch of changes of the node."""
        return int(self.parameterNode.EndModify(wasModified))

    def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:
        """Observe the node."""
        return int(self.parameterNode.AddObserver(event, callback, priority))

    def RemoveObserver(self, tag: int) -> None:
        """Stop observing the node."""
        self.parameterNode.RemoveObserver(tag)

    def Modified(self) -> None:
        """Invoke the node's ModifiedEvent."""
        self.parameterNode.Modified()


def _initialise(self: Any, parameterNode: Any, prefix: str | None = None) -> None:
    self.parameterNode = parameterNode
    self._guis = {}
    self._gui_observers = {}
    self._next_tag = 0
    self._updating_gui = False
    self._values = {
        name: CachedValue(member, parameterNode, prefix or "") for name, member in self.allParameters.items()
    }


def _property(name: str) -> property:
    return property(lambda self: self._values[name].read(), lambda self, value: self._values[name].write(value))


def _process(cls: type) -> type:
    members = {name: Member(cls, name, hint) for name, hint in typing.get_type_hints(cls, include_extras=True).items()}
    for name in members:
        setattr(cls, name, _property(name))
    added = {name: value for name, value in vars(Wrapper).items() if not name.startswith("__")}
    for name, value in {**added, "allParameters": members}.items():
        if hasattr(cls, name):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
        setattr(cls, name, value)
    cls.__init__ = _initialise  # type: ignore[misc]
    return cls


def parameterNodeWrapper(classtype: type | None = None) -> Any:
    """Decorate a class, as @parameterNodeWrapper or @parameterNodeWrapper()."""
    return _process if classtype is None else _process(classtype)


def isParameterNodeWrapper(classOrObj: Any) -> bool:
    """Return whether this is a wrapper or its class."""
    return bool(getattr(classOrObj, "_is_parameter_node_wrapper", False))


def findChildWidgetForParameter(widget: Any, parameter: str) -> Any:
    """Return the child widget that carries this parameter's name, None where there is none."""
    import qt

    for child in widget.findChildren(qt.QWidget):
        if child.property(PARAMETER_NAME_PROPERTY) == parameter:
            return child
    return None
