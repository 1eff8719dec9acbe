"""Registries: what is built in, what a script adds, what an installed package declares."""

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from weam_ext.common import registry
from weam_ext.common.errors import InputError
from weam_ext.common.registry import Registry


def test_what_a_script_adds() -> None:
    things: Registry[type] = Registry("things")

    @things.add("mine")
    class Mine:
        pass

    assert things["mine"] is Mine
    assert list(things) == ["mine"] and "mine" in things and len(things) == 1
    assert repr(things) == "Registry('things': mine)"
    with pytest.raises(InputError, match="things: there is one called 'mine' already"):
        things.add("mine")(Mine)
    with pytest.raises(InputError, match="things: 'other' is not one of mine"):
        things["other"]


def test_what_a_package_declares(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is loaded when it is asked for, and not before."""
    points = EntryPoints(
        [
            EntryPoint("json", "json:loads", "weam_ext.things"),
            EntryPoint("broken", "nowhere:x", "weam_ext.things"),
        ]
    )
    monkeypatch.setattr(registry, "entry_points", lambda group: points.select(group=group))
    things: Registry[object] = Registry("things")
    assert list(things) == ["json", "broken"]
    import json

    assert things["json"] is json.loads
    with pytest.raises(ModuleNotFoundError):
        things["broken"]
