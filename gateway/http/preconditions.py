"""The `If-Match` header (RFC 9110, 13.1.1): which version of an entity the caller means to change."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.http.call import Call
from gateway.http.problems import Problem, malformed, refusal
from schemas.codes import Code

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"[ \t]*'
#: A list may have empty elements (RFC 9110, 5.6.1.2), but not be one of nothing else.
_TAGS = re.compile(rf"[ \t,]*{_TAG}(?:,[ \t,]*{_TAG})*(?:,[ \t,]*)?")
#: The tags that we give: a version, below 2^53. Weak ones never match.
_VERSION = re.compile(r'(?<!W/)"([1-9][0-9]{0,14})"')
_LONGEST = 1024


@dataclass(frozen=True, slots=True)
class IfMatch:
    """`versions` None: any will do, as long as there is one."""

    versions: frozenset[int] | None

    def expected(self, current: int) -> int | None:
        """The version that the change is for, when this gateway knows `current`; None for any. It goes with the command, and the
        worker refuses it for any other, so nothing is overwritten whatever this gateway has yet to hear of.

        Raises Problem 412 when none can be meant.
        """
        if self.versions is None:
            # Not the one known here: a repeat of the same call would be another command then.
            return None
        if current in self.versions:
            return current
        if not self.versions:
            raise refusal(Code.PRECONDITION_FAILED.value, None)
        # Newer ones this gateway may have yet to hear of; for all others the worker refuses.
        return max(self.versions)


def if_match(call: Call) -> IfMatch | None:
    """What the caller sent, None for nothing. Raises Problem 400 for what cannot be read."""
    header = call.text_header(b"if-match")
    if header is None:
        return None
    if header.strip() == "*":
        return IfMatch(None)
    if len(header) > _LONGEST or not _TAGS.fullmatch(header):
        raise malformed('The If-Match header cannot be read: send the ETag as it was answered, such as "3".')
    return IfMatch(frozenset(int(found) for found in _VERSION.findall(header)))


def required(found: IfMatch | None) -> IfMatch:
    """It, or Problem 428."""
    if found is None:
        raise Problem(428, "precondition-required", "Send If-Match with the ETag of the version that you have changed.")
    return found
