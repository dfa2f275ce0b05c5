"""Files of reference data: what is written is read back as it was, and a file is judged by what it leads to."""

from __future__ import annotations

import csv
import io
import time
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.http.problems import Problem
from gateway.reference_files import reading
from gateway.reference_files.faults import MAX_NAMED, Faults
from gateway.reference_files.ids import DerivedIds
from gateway.reference_files.reading import MAX_ROWS, read
from gateway.reference_files.rehearsal import Step, rehearse
from gateway.reference_files.sheets import SHEETS, plain_text, text_of
from gateway.reference_files.taking_over import is_so
from gateway.reference_files.wanted import Reader, Wanted
from gateway.reference_files.writing import pieces
from ops.secrets.secret import Secret
from schemas.catalog import Catalog
from schemas.reference import RESERVED_IDS, Assignment, Category, Department, Entity, Reason, User

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=30).filter(
    str.strip
)
KEY = "k" * 32
RUNS = ("=1+1", "+49 30", "-2", "@SUM(A1)", "\tx", "'=x", "''=x", "＝1", "＋1", "－1", "＠a")


def user(id_: str, roles: tuple[str, ...] = (), **more: Any) -> User:
    facts: dict[str, Any] = {"email": f"{id_}@athena.test", "name": id_, "department_id": "hq", "version": 1}
    return User(**facts | {"id": id_, "roles": roles} | more)


def house(*more: Entity) -> Catalog:
    catalog = Catalog()
    entities: list[Entity] = [
        Department(id="hq", version=3, name="HQ", region="emea"),
        user("root", ("admin",)),
        user("ann", ("manager", "sales"), phone="+49301234", locale="de"),
        Category(id="travel", version=1, name="Travel"),
        Category(id="old", version=2, name="Old", active=False),
        Reason(id="any", version=1, text="Any", category_id=None),
        Assignment(id="t1", version=1, category_id="travel", level="L1", approver_id="ann", region="emea"),
    ]
    for entity in (*entities, *more):
        catalog.put(entity)
    return catalog


def exported(plural: str, catalog: Catalog) -> bytes:
    return b"".join(pieces(SHEETS[plural], catalog))


def planned(
    plural: str, catalog: Catalog, data: str | bytes, actor: str = "root"
) -> tuple[list[Wanted], list[Step], dict[str, str]]:
    """What the file wants, the steps, and what is wrong by place."""
    sheet, faults = SHEETS[plural], Faults()
    raw = data if isinstance(data, bytes) else data.encode()
    try:
        rows = read(raw, sheet)
    except Problem as problem:
        return [], [], {error["pointer"]: error["detail"] for error in problem.errors}
    wanted = list(Reader(sheet, catalog, DerivedIds(Secret("cursor_key", KEY)), faults).wanted(rows))

    def facts() -> dict[str, Any]:
        return {"command_id": str(uuid.uuid4()), "actor_id": actor, "correlation_id": "correlation-1"}

    steps = rehearse(wanted, catalog.copy(), actor, facts, 1, faults)
    return wanted, steps, {error["pointer"]: error["detail"] for error in faults.errors()}


def order(steps: list[Step]) -> list[str]:
    return [step.command.entity_id for step in steps]


@pytest.mark.parametrize("plural", SHEETS)
def test_what_is_exported_changes_nothing_when_it_is_sent_back(plural: str) -> None:
    """An administrator who only looks at a file and sends it back changes things by that."""
    catalog = house()
    wanted, steps, wrong = planned(plural, catalog, exported(plural, catalog))
    assert (len(wanted), steps, wrong) == (len(SHEETS[plural].table(catalog)), [], {})


@given(st.lists(st.tuples(NAMES, st.booleans()), max_size=8))
@settings(max_examples=60, deadline=None)
def test_any_name_comes_back_as_it_was(names: list[tuple[str, bool]]) -> None:
    """A name with a quote, a comma or a sign that spreadsheets run is another one after an export and an import."""
    catalog = house(*(Category(id=f"c{n}", version=1, name=name, active=on) for n, (name, on) in enumerate(names)))
    data = exported("categories", catalog)
    _, steps, wrong = planned("categories", catalog, data)
    assert (steps, wrong) == ([], {})
    renamed = data.replace(b",true,", b",false,")
    _, steps, wrong = planned("categories", catalog, renamed)
    assert wrong == {} and all(step.wanted.before.name == step.command.body.name for step in steps)  # type: ignore


@pytest.mark.parametrize("text", RUNS)
def test_no_cell_is_a_formula(text: str) -> None:
    """A name that somebody chose runs on the machine of the administrator who opens the file."""
    cell = text_of(text)
    assert cell.startswith("'") and plain_text(cell) == text
    assert plain_text(text.lstrip("'")) == text.lstrip("'"), "a cell that a spreadsheet saved without the apostrophe"
    for harmless in ("'quoted'", "O'Neill", "a=b", "'", ""):
        assert text_of(harmless) == harmless == plain_text(harmless)


def test_every_cell_of_an_export_is_safe_and_as_rfc_4180_wants_it() -> None:
    """A spreadsheet runs a telephone number, or another program finds one line where there are two."""
    catalog = house(user("x", name='=cmd("a, b")', email="=1@athena.test"))
    text = exported("users", catalog).decode()
    assert text.endswith("\r\n") and text.count("\n") == text.count("\r\n") == 4
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows[0] == list(SHEETS["users"].columns)
    assert not [cell for row in rows for cell in row if cell[:1] in "=+-@" and cell]
    assert "created_at" not in rows[0] and not any("password" in name for name in rows[0])


def test_a_byte_order_mark_line_ends_and_blank_lines_do_not_matter() -> None:
    """A file from a spreadsheet is refused for what nobody can see."""
    for data in (
        b"\xef\xbb\xbfid,name\r\nx,One\r\n",
        b"id,name\nx,One",
        b"\nname,id\r\rOne,x\r",
        b'id,"name"\n"x",One\n',
    ):
        _, steps, wrong = planned("categories", house(), data)
        assert (order(steps), wrong) == (["x"], {}), data


@pytest.mark.parametrize(
    ("data", "places"),
    [
        ("", ["/rows/1"]),
        ("id;name\nx;One\n", ["/rows/1", "/rows/1/id;name"]),
        ("id,name,colour\n", ["/rows/1/colour"]),
        ("id,name,name\n", ["/rows/1/name"]),
        ("active\ntrue\n", ["/rows/1"]),
        ("id,name\nx\n", ["/rows/2"]),
        ('id,name\nx,"One\n', ["/rows/2"]),
        ('id,name\n\nx,"One"two\n', ["/rows/3"]),
        ("id,name\nx,\n!,B\n", ["/rows/2/name", "/rows/3/id"]),
        ("id,name,active\nx,One,yes\n", ["/rows/2/active"]),
        (
            "id,name,version\ntravel,Trips,2\nnew,New,1\nold,O,x\n",
            ["/rows/2/version", "/rows/3/version", "/rows/4/version"],
        ),
        ("id,name\ntravel,A\ntravel,B\n", ["/rows/3"]),
        ("id,active\nnew,true\n", ["/rows/2/name"]),
        ("id,name\n,\n", ["/rows/2/name"]),
        ('id,name\nx,"two\nlines"\ny,\n', ["/rows/2/name", "/rows/4/name"]),
    ],
)
def test_what_is_wrong_is_named_by_line_and_column(data: str, places: list[str]) -> None:
    """Somebody looks through thousands of lines for a mistake."""
    assert sorted(planned("categories", house(), data)[2]) == places


def test_other_encodings_are_told_what_is_wanted() -> None:
    """A name from an old spreadsheet comes in with other letters than it had."""
    with pytest.raises(Problem) as found:
        read("id,name\nx,Zoë\n".encode("latin-1"), SHEETS["categories"])
    assert (found.value.status, found.value.code) == (400, "malformed") and "UTF-8" in found.value.detail


def test_a_file_has_a_longest_and_errors_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """One file keeps a gateway busy for minutes, or its answer is longer than the file."""
    many = "id,name\n" + "".join(f"c{n},\n" for n in range(MAX_NAMED + 50))
    places = planned("categories", house(), many)[2]
    assert len(places) == MAX_NAMED + 1 and places["/rows"] == "and 50 more"
    monkeypatch.setattr(reading, "MAX_ROWS", 3)
    assert not planned("categories", house(), "id,name\na,A\nb,B\nc,C\n")[2]
    assert list(planned("categories", house(), "id,name\na,A\nb,B\nc,C\nd,D\n")[2]) == ["/rows/5"]


def test_a_row_without_an_id_is_about_what_it_describes() -> None:
    """The same file, sent twice, makes everything twice."""
    catalog = house()
    data = "email,name,roles,department_id\nANN@athena.test,Ann B,manager sales,hq\nnew@athena.test,New,,hq\n"
    _, steps, wrong = planned("users", catalog, data)
    assert wrong == {} and order(steps)[0] == "ann"
    assert steps[0].command.expected_version == 1 and steps[1].command.expected_version == 0
    _, again, _ = planned("users", catalog, data)
    assert order(again) == order(steps), "the id follows from the address"
    assert order(steps)[1] != DerivedIds(Secret("cursor_key", "x" * 32)).of("user", "new@athena.test", "0"), "by a key"
    two = house(Category(id="travel2", version=1, name="Travel"))
    assert list(planned("categories", two, "name,active\nTravel,false\n")[2]) == ["/rows/2/id"]
    place = "category_id,level,approver_id,region,department_id\ntravel,L1,ann,emea,\ntravel,L2,ann,,\n"
    wanted, steps, wrong = planned("assignments", catalog, place)
    assert (wanted[0].id, wanted[0].body, len(steps), wrong) == ("t1", None, 1, {})


def test_an_id_that_went_on_under_another_name_is_not_taken_back() -> None:
    """An old file renames a category that it once made, and requests are filed under the wrong one."""
    catalog = house()
    first = order(planned("categories", catalog, "name\nFairs\n")[1])[0]
    catalog.put(Category(id=first, version=2, name="Trade fairs"))
    _, steps, wrong = planned("categories", catalog, "name\nFairs\n")
    assert wrong == {} and order(steps) != [first] and steps[0].command.expected_version == 0


def test_what_the_file_does_not_speak_of_stays() -> None:
    """A list of telephone numbers takes everybody's language and roles away."""
    catalog = house()
    _, steps, wrong = planned("users", catalog, "id,phone\nann,'+4930999\n")
    body: Any = steps[0].command.body
    assert wrong == {} and (body.phone, body.locale, body.roles) == ("+4930999", "de", ("manager", "sales"))
    _, steps, _ = planned("users", catalog, "id,phone,locale,roles,active\nann,,,sales manager,\n")
    body = steps[0].command.body
    assert (body.phone, body.locale, body.roles, body.active) == (None, "de", ("manager", "sales"), True)
    assert planned("users", catalog, "id,locale,roles\nann,,sales manager\n")[1] == [], "nothing of this is a change"
    assert planned("categories", catalog, "id,name\nold,Old\n")[1] == []


def test_a_row_that_is_done_may_name_the_version_of_before() -> None:
    """A file that was taken over in part cannot be sent again."""
    catalog = house(Category(id="travel", version=2, name="Trips"))
    _, steps, wrong = planned("categories", catalog, "id,name,version\ntravel,Trips,1\nold,Older,2\n")
    assert (order(steps), wrong) == (["old"], {})


def test_a_file_is_judged_by_where_it_leads() -> None:
    """Addresses, or the office of the administrator, cannot be handed on in one file."""
    _, steps, wrong = planned("users", house(user("bob")), "id,email\nann,bob@athena.test\nbob,robert@athena.test\n")
    assert (order(steps), wrong) == (["bob", "ann"], {}), "who gives an address up goes first"
    _, steps, wrong = planned("users", house(), "id,roles\nroot,\nann,manager admin\n")
    assert (order(steps), wrong) == (["ann", "root"], {}), "the new administrator comes before the old one goes"
    change = "id,name,roles\nroot,Root,\nann,Ann,admin\n"
    _, steps, _ = planned("users", house(user("two", ("admin",))), change)
    assert order(steps) == ["ann", "root"], "whoever sends the file gives up their own rights last"
    _, steps, wrong = planned("assignments", house(), (
        "id,category_id,level,approver_id,region\nt2,travel,L1,ann,emea\nt1,travel,L2,ann,emea\n"))  # fmt: skip
    assert (order(steps), wrong) == (["t1", "t2"], {})


def test_a_file_that_leads_nowhere_is_refused_whole() -> None:
    """Half of a file is taken over before the rest turns out to be impossible."""
    swap = planned("users", house(user("bob")), "id,email\nann,bob@athena.test\nbob,ann@athena.test\n")
    assert (order(swap[1]), sorted(swap[2])) == ([], ["/rows/2/email", "/rows/3/email"])
    assert "third address" in swap[2]["/rows/2/email"]
    twice = planned("users", house(), "id,email,name,roles,department_id\na,x@y.z,A,,hq\nb,X@y.z,B,,hq\n")
    assert list(twice[2]) == ["/rows/3/email"]
    nobody = planned("users", house(), "id,roles\nroot,auditor\n")
    assert list(nobody[2]) == ["/rows/2"]
    unknown = planned("users", house(), "id,department_id\nann,nowhere\n")
    assert list(unknown[2]) == ["/rows/2/department_id"]
    both = planned(
        "assignments", house(), "id,category_id,level,approver_id,department_id,region\nt2,travel,L1,ann,hq,emea\n"
    )
    assert list(both[2]) == ["/rows/2/region"]
    same = planned(
        "assignments", house(), "id,category_id,level,approver_id,department_id,region\nt2,travel,L1,ann,,emea\n"
    )
    assert list(same[2]) == ["/rows/2"]
    inactive = planned("reasons", house(), "id,text,category_id\nr,R,old\n")
    assert list(inactive[2]) == ["/rows/2/category_id"]
    outsider = planned("categories", house(), "id,name\nx,X\n", actor="ann")
    assert list(outsider[2]) == ["/rows/2"]
    mailbox = planned("users", house(user("two", ("admin",))), (
        "id,email,roles\nroot,old@athena.test,\nann,root@athena.test,admin\n"))  # fmt: skip
    assert list(mailbox[2]) == ["/rows/3"] and "a file before the other" in mailbox[2]["/rows/3"]


@pytest.mark.parametrize("id_", sorted(RESERVED_IDS))
def test_no_row_takes_an_id_of_the_products_own(id_: str) -> None:
    """A file is answered with an internal error, and nobody learns which line it was."""
    data = f"id,email,name,roles,department_id\n{id_},x@athena.test,X,,hq\n"
    assert [list(found) for found in planned("users", house(), data)[1:]] == [[], ["/rows/2/id"]]
    assert order(planned("categories", house(), f"id,name\n{id_},X\n")[1]) == [id_], "of accounts alone"


@pytest.mark.parametrize(
    ("plural", "data", "meanwhile"),
    [
        ("users", "id,phone\nann,\n", {"phone": "+4930999"}),
        ("users", "id,phone\nann,\n", {"phone": None}),
        ("assignments", "id,region\nt1,\n", {"region": "amer"}),
        ("assignments", "id,region\nt1,\n", {"region": None, "department_id": "hq"}),
        ("reasons", "id,text,category_id\nany,Other,\n", {"text": "Other", "category_id": "travel"}),
        ("reasons", "id,text,category_id\nany,Other,\n", {"text": "Other"}),
    ],
)
def test_a_cleared_cell_is_a_wish_too(plural: str, data: str, meanwhile: dict[str, Any]) -> None:
    """An import says that all is as in the file, although somebody else has set what it clears."""
    catalog = house()
    (step,) = planned(plural, catalog, data)[1]
    before = step.wanted.before
    assert before is not None
    after = before.model_copy(update=meanwhile)
    wanted: Any = step.command.body
    assert is_so(wanted, after) == all(getattr(wanted, name) == value for name, value in meanwhile.items())


def test_an_empty_activity_is_none() -> None:
    """A row that somebody else has carried out is reported as one that could not be."""
    (step,) = planned("categories", house(), "id,name,active\nnew,New,\n")[1]
    assert is_so(step.command.body, Category(id="new", version=1, name="New"))
    assert not is_so(step.command.body, Category(id="new", version=1, name="Newer"))


def test_the_longest_file_is_checked_in_seconds() -> None:
    """A file of everybody, addresses handed on from each to the next in the worst order, stops the gateway."""
    people = [user(f"p{n}", email=f"p{n}@athena.test") for n in range(MAX_ROWS)]
    catalog = house(*people)
    lines = [f"p{n},p{n + 1}@athena.test" for n in range(MAX_ROWS)]
    began = time.process_time()
    _, steps, wrong = planned("users", catalog, "id,email\n" + "\n".join(lines))
    took = time.process_time() - began
    assert (len(steps), wrong) == (MAX_ROWS, {}) and order(steps)[0] == f"p{MAX_ROWS - 1}"
    print(f"{MAX_ROWS} rows checked in {took:.2f} s of CPU")  # noqa: T201 - shown with pytest -rP
    assert took < 15
