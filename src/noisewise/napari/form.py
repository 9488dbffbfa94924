"""A form for the settings of a method, made from its dataclass."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QGroupBox, QLineEdit, QVBoxLayout, QWidget

from noisewise import methods
from noisewise.errors import UserError
from noisewise.methods.base import Method
from noisewise.workflow.settings import field_docstrings


class SettingsForm(QWidget):
    """The settings of a method: its own first, then those that it shares. Only what was changed is given.

    name: of the method.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        kind: Any = methods.get(name)
        texts, hints = field_docstrings(kind), get_type_hints(kind)
        self.kind, self.hints, self.entries = kind, hints, dict[str, QWidget]()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        own = [one for one in fields(kind) if one.name not in {shared.name for shared in fields(Method)}]
        others = [one for one in fields(kind) if one not in own]
        for title, group in ((f"Settings of {name}", own), ("Settings of all methods", others)):
            if group:
                layout.addWidget(self._box(title, group, texts))

    def _box(self, title: str, group: list[Field[Any]], texts: dict[str, str]) -> QGroupBox:
        box = QGroupBox(title)
        form = QFormLayout(box)
        for one in group:
            entry = entry_for(self.hints[one.name], one.default)
            entry.setToolTip(f"<p>{texts.get(one.name, '')}</p><p>default: {one.default}</p>")
            self.entries[one.name] = entry
            form.addRow(one.name.replace("_", " "), entry)
        return box

    def changed(self) -> dict[str, Any]:
        """The settings that differ from their defaults. Errors: `UserError` for a text that is not a value."""
        found = {}
        for one in fields(self.kind):
            value = value_of(self.entries[one.name], one.name, self.hints[one.name], one.default)
            if value != one.default:
                found[one.name] = value
        return found


def entry_for(hint: Any, default: Any) -> QWidget:
    """A widget for values of a type; an empty line stands for the default, which it shows."""
    if hint is bool:
        box = QCheckBox()
        box.setChecked(bool(default))
        return box
    if get_origin(hint) is Literal:
        choice = QComboBox()
        choice.addItems([str(value) for value in get_args(hint)])
        choice.setCurrentText(str(default))
        return choice
    line = QLineEdit()
    line.setPlaceholderText("" if default is MISSING else str(default))
    return line


def value_of(entry: QWidget, name: str, hint: Any, default: Any) -> Any:
    """The value in a widget. Errors: `UserError` for a text that is not one."""
    if isinstance(entry, QCheckBox):
        return entry.isChecked()
    if isinstance(entry, QComboBox):
        return next(value for value in get_args(hint) if str(value) == entry.currentText())
    assert isinstance(entry, QLineEdit)
    text = entry.text().strip()
    if not text:
        return default
    try:
        return hint(text) if hint in (int, float) else text
    except ValueError as error:
        kind = "a whole number" if hint is int else "a number"
        raise UserError(f"{name.replace('_', ' ')}: '{text}' is not {kind}") from error
