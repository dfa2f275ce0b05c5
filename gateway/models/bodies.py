"""What clients send. Field types are those of the commands, so that what is valid here is valid there."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from gateway.identity.password_rules import LONGEST, SHORTEST
from schemas.base import EntityId, Level, LongText, Name, RequiredText, Title, Uuid, Version, Wire
from schemas.commands import AmountText, CurrencyCode
from schemas.reference import Email, Locale, Phone, Region, Role

DeviceId = Annotated[str, StringConstraints(pattern=r"^[ -~]{1,128}$")]
OneTimeToken = Annotated[str, StringConstraints(min_length=1, max_length=256)]
NewPassword = Annotated[str, StringConstraints(min_length=SHORTEST, max_length=LONGEST)]


def _whole(value: object) -> object:
    """JSON has one kind of number: 3.0 is 3 (JSON Schema, `integer`)."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


SeenVersion = Annotated[Version, BeforeValidator(_whole)]


class LoginBody(Wire):
    """`device_id` is any text by which the client knows its device again."""

    email: Annotated[str, StringConstraints(min_length=1, max_length=254)]
    password: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    device_id: DeviceId | None = None


class RefreshBody(Wire):
    """`device_id` as given when signing in: another device that presents the token is then told apart. A browser's token comes
    in its cookie; everybody else must send one.
    """

    refresh_token: OneTimeToken | None = None
    device_id: DeviceId | None = None


class PasswordBody(Wire):
    """A new password, by somebody who is signed in."""

    current: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    new: NewPassword


class FirstPasswordBody(Wire):
    """`token` from the link that an administrator passed on."""

    token: OneTimeToken
    new: NewPassword


class SubmitBody(Wire):
    """`amount` has no more decimals than `currency`, and is above zero."""

    category_id: EntityId
    reason_id: EntityId
    title: Title
    description: LongText | None = None
    amount: AmountText
    currency: CurrencyCode
    supersedes: Uuid | None = None


class DecisionBody(Wire):
    """`expected_version`: refused as stale when somebody did something after that version."""

    comment: LongText | None = None
    expected_version: SeenVersion | None = None


class RejectBody(Wire):
    """A rejection says why."""

    comment: RequiredText
    expected_version: SeenVersion | None = None


class CommentBody(Wire):
    text: RequiredText


class ReassignBody(Wire):
    level: Level
    expected_version: SeenVersion | None = None


def _each_once(roles: tuple[Role, ...]) -> tuple[Role, ...]:
    if len(set(roles)) != len(roles):
        raise ValueError("names a role twice")
    return roles


class NewUserBody(Wire):
    """Without `password` the answer holds a token with which the person sets one."""

    email: Email
    name: Name
    roles: Annotated[
        tuple[Role, ...], Field(max_length=4, json_schema_extra={"uniqueItems": True}), AfterValidator(_each_once)
    ]
    department_id: EntityId
    phone: Phone | None = None
    locale: Locale = "en"
    password: NewPassword | None = None


class UserBody(NewUserBody):
    """The whole account. Without `active` it stays active or inactive; without `password` that stays."""

    active: bool | None = None


class DepartmentBody(Wire):
    name: Name
    region: Region


class RulesBody(Wire):
    """The same as the file's text as `application/yaml`; `comment` as the header `X-Comment`."""

    yaml: Annotated[str, StringConstraints(max_length=1024 * 1024)]
    comment: Annotated[str, StringConstraints(max_length=4000, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$")] | None = (
        None
    )


class CategoryBody(Wire):
    """Without `active` it stays active or inactive; a new one is active."""

    name: Name
    active: bool | None = None


class ReasonBody(Wire):
    """Without `category_id` it fits every category; `active` as in a category."""

    text: Name
    category_id: EntityId | None = None
    active: bool | None = None


class AssignmentBody(Wire):
    """For a department or for a region, not for both; for all without either."""

    category_id: EntityId
    level: Level
    approver_id: EntityId
    department_id: EntityId | None = None
    region: Region | None = None
