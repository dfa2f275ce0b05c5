"""Money: a wrong unit here pays somebody a hundred times too much."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.money import EXPONENTS, MoneyError, convert_minor, format_minor, max_minor, parse_minor


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("1250.00", "EUR", 125_000),
        ("1250", "JPY", 1250),
        ("1.5", "KWD", 1500),
        ("0.01", "USD", 1),
        ("999999999999.999", "KWD", 999_999_999_999_999),
        ("7.5", "XYZ", 750),
    ],
)
def test_an_amount_becomes_minor_units_of_its_currency(amount: str, currency: str, minor: int) -> None:
    assert parse_minor(amount, currency) == minor


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        ("0", "EUR"), ("0.00", "EUR"), ("-1", "EUR"), ("01", "EUR"), ("1.", "EUR"), (".5", "EUR"), ("1e3", "EUR"),
        ("", "EUR"),
        ("1,000", "EUR"), ("1.001", "EUR"), ("1.0", "JPY"), ("1.0001", "KWD"), ("1000000000000", "EUR"), (" 1", "EUR"),
        ("1\n", "EUR"), ("١", "EUR"), ("1", "eur"), ("1", "EU"), ("1", "EURO"), ("1", ""), ("1", "ÄÖÜ"), ("1", "EUR\n"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_a_sentence(amount: str, currency: str) -> None:
    with pytest.raises(MoneyError, match=r"write|three capital"):
        parse_minor(amount, currency)


@given(st.sampled_from([*EXPONENTS, "XYZ"]), st.data())
def test_what_is_shown_can_be_typed_again(currency: str, data: st.DataObject) -> None:
    step = 10 if EXPONENTS.get(currency) == 4 else 1
    minor = data.draw(st.integers(1, max_minor(currency) // step)) * step
    text = format_minor(minor, currency)
    if step == 10:
        text = text[:-1]
    assert parse_minor(text, currency) == minor


@given(
    st.integers(1, 10**15),
    st.sampled_from(sorted(EXPONENTS)),
    st.sampled_from(sorted(EXPONENTS)),
    st.decimals("0.000001", "99999", places=6),
)
def test_conversion_is_exact_and_rounds_half_up(minor: int, currency: str, base: str, rate: Decimal) -> None:
    exact = Decimal(minor).scaleb(-EXPONENTS[currency]) * rate
    expected = exact.scaleb(EXPONENTS[base]).quantize(Decimal(1), ROUND_HALF_UP)
    assert convert_minor(minor, currency, base, rate) == expected


def test_the_documented_example_converts() -> None:
    assert convert_minor(125_000, "EUR", "USD", Decimal("1.0850")) == 135_625
    assert convert_minor(1, "JPY", "USD", Decimal("0.005")) == 1  # half a cent goes up
    with pytest.raises(MoneyError):
        convert_minor(1, "EUR", "USD", Decimal(0))
