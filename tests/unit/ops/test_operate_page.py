"""docs/operate.md says what the code does."""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML

from ops.cli.stack import LOGINS, PASSWORD
from ops.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[3]


def settings_table() -> str:
    """The table of docs/operate.md as the settings model wants it."""
    lines = ["| variable | default | what it is |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.default.get_secret_value() if hasattr(field.default, "get_secret_value") else field.default
        shown = "none" if default in (None, "") else f"`{default}`"
        lines.append(f"| `{PREFIX}{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(lines)


def test_every_setting_is_documented() -> None:
    """Otherwise an operator would have to read the source to configure a process."""
    page = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
    assert settings_table() in page, f"Put this table into docs/operate.md:\n{settings_table()}"


def test_the_logins_that_up_prints_exist() -> None:
    """Otherwise a newcomer's first sign-in would fail."""
    data = YAML(typ="safe", pure=True).load(ROOT / "ops" / "demo_data" / "organisation.yaml")
    assert {login for login, _ in LOGINS} <= {user["email"] for user in data["users"].values()}
    assert data["password"] == PASSWORD
