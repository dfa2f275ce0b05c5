"""Writes the golden files anew: `python tests/unit/core/golden/make.py`. A released file is never written again: an event that
was written must fold as it always did. Add a story instead, and only it is written.
"""

from __future__ import annotations

import sys
from pathlib import Path

import orjson

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[3]))


from schemas.events import written  # noqa: E402
from schemas.view import request_view  # noqa: E402
from tests.unit.core import organisation as org  # noqa: E402
from tests.unit.core.core_stories import Story, approved, filed, standing_in  # noqa: E402


def stories() -> dict[str, Story]:
    """Every event type, and every way that a request can end."""
    hour = org.HOUR
    reassigned = filed(quorum={"L1": "all"}).at(1).does(org.approve("ann", comment="Fine")).without("bob").at(2)
    unstaffed = filed().at(1).without("cid").without("dee")
    delegated = standing_in(filed(), "ann", "gil")
    slow = filed(levels=("L1", "L2"), remind_after=hour, escalate_after=2 * hour)
    yen = Story(org.Context(org.catalog(), org.fixed_rules(("L3",))))
    return {
        "finalized": approved().at(24 * hour).does(org.close(4)),
        "closed": filed(quorum={"L1": 2}).does(org.approve("ann")).at(9).does(org.reject("bob")).at(25 * hour).does(org.close(3)),
        "withdrawn": filed().does(org.comment(text="日本語 and 🎉")).at(5).does(org.withdraw(comment="No longer needed")),
        "rolled-back": approved().at(7).does(org.rollback("eve", comment="Wrong"), org.rollback("cid"), org.reject("dee")),
        "reassigned": reassigned.does(org.reassign("L1", "system")),
        "unstaffed": unstaffed.does(org.reassign("L2", "system")),
        "delegated": delegated.does(org.approve("gil"), org.rollback("gil"), org.reject("gil")).at(24 * hour).does(org.close(4)),
        "escalated": slow.at(1 * hour).does(org.remind(1)).at(2 * hour).does(org.escalate(1), org.approve("cid"))
        .at(3 * hour).does(org.remind(4)).at(4 * hour).does(org.escalate(4), org.approve("dee")).at(28 * hour).does(org.close(7)),
        "yen": yen.does(org.submit(amount="125000", currency="JPY", description=None)),
    }  # fmt: skip


def main() -> None:
    for name, story in stories().items():
        path = HERE / f"{name}.json"
        if path.exists():
            continue
        assert story.state is not None
        body = {
            "request_id": org.REQUEST_ID,
            "events": [written(event) for event in story.events],
            "view": request_view(story.state),
            "closes_at": story.state.closes_at,
            "changed_version": story.state.changed_version,
            "former_approvers": sorted(story.state.former_approvers),
        }
        path.write_bytes(orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    main()
