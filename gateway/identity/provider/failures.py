"""Why a sign-in with the provider came to nothing. `why` is one of a few words, for metrics; the text is for our log alone."""

from __future__ import annotations


class Away(Exception):
    """The provider gave no answer that can be used: 503.

    `why`: `unreachable`, `slow`, `status`, `too-large`, `malformed`, `discovery`, `client` (it does not accept our client).
    """

    def __init__(self, why: str, detail: str) -> None:
        super().__init__(detail)
        self.why = why


class Unproven(Exception):
    """What was sent does not show who it is: 401.

    `why`: `state`, `code`, `token`, `email`, `person`.
    """

    def __init__(self, why: str, detail: str) -> None:
        super().__init__(detail)
        self.why = why
