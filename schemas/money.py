"""Money as integer minor units, with ISO 4217's exponents; every conversion is exact decimal arithmetic."""

from __future__ import annotations

import re
from decimal import Decimal

_AMOUNT = re.compile(r"(0|[1-9][0-9]{0,11})(?:\.([0-9]{1,3}))?")
_CURRENCY = re.compile(r"[A-Z]{3}")

_BY_EXPONENT = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: """AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE
        CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG
        HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK
        MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE
        SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XCD XCG YER ZAR ZMW
        ZWG""",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
#: Decimals of every active ISO 4217 currency (list one; metals and units without a minor unit left out).
EXPONENTS: dict[str, int] = {code: exponent for exponent, codes in _BY_EXPONENT.items() for code in codes.split()}

_UNKNOWN_EXPONENT = 2
_MAX_WHOLE = 999_999_999_999


class MoneyError(ValueError):
    """An amount or a currency is malformed; the text says what was wrong and what to write instead."""


def exponent_of(currency: str) -> int:
    """Decimals of `currency`. A well-formed code that ISO 4217 does not list counts as 2, so that the domain can refuse
    it as `currency-not-supported`; a code that is not three capital letters raises `MoneyError`."""
    found = EXPONENTS.get(currency)
    if found is not None:
        return found
    if not _CURRENCY.fullmatch(currency):
        raise MoneyError(f"{currency[:20]!r} is not a currency: write three capital letters such as EUR")
    return _UNKNOWN_EXPONENT


def parse_bound(amount: str, currency: str) -> int:
    """As `parse_minor`, with zero allowed: the bounds of a rules file."""
    exponent = exponent_of(currency)
    match = _AMOUNT.fullmatch(amount)
    if match is None:
        raise MoneyError(
            f"{amount[:40]!r} is not an amount: write digits, and after a point at most {min(exponent, 3)} decimals, "
            f'such as "{format_minor(125 * 10**exponent, currency)}"'
        )
    whole, fraction = match.group(1), match.group(2) or ""
    if len(fraction) > exponent:
        allowed = {0: "no decimals", 1: "at most 1 decimal"}.get(exponent, f"at most {exponent} decimals")
        raise MoneyError(
            f'"{amount}" has {len(fraction)} decimals, and {currency} has {allowed}: write "{whole}" or the like'
        )
    scale: int = 10**exponent
    return int(whole) * scale + int((fraction + "0" * exponent)[:exponent] or 0)


def parse_minor(amount: str, currency: str) -> int:
    """`"1250.00"` and `"EUR"` to 125000 minor units, always above zero. Raises `MoneyError`.

    The grammar is domain.md's: `(0|[1-9][0-9]{0,11})(\\.[0-9]{1,3})?` and no more decimals than the currency has.
    """
    minor = parse_bound(amount, currency)
    if minor == 0:
        raise MoneyError(f'"{amount}" is nothing: write an amount above zero, at least "{format_minor(1, currency)}"')
    return minor


def format_minor(minor: int, currency: str) -> str:
    """125000 minor units to `"1250.00"` (EUR), `"125000"` (JPY), `"125.000"` (KWD). Raises `MoneyError` for a malformed code."""
    exponent = exponent_of(currency)
    sign, digits = ("-" if minor < 0 else ""), str(abs(minor)).rjust(exponent + 1, "0")
    return sign + (f"{digits[:-exponent]}.{digits[-exponent:]}" if exponent else digits)


def max_minor(currency: str) -> int:
    """The largest amount the grammar can say, in minor units: 12 digits and up to 3 decimals."""
    exponent = exponent_of(currency)
    largest: int = _MAX_WHOLE * 10**exponent + (10 ** min(exponent, 3) - 1) * 10 ** max(exponent - 3, 0)
    return largest


def ratio(currency: str, base: str, rate: Decimal) -> tuple[int, int]:
    """(n, d): one minor unit of `currency` is exactly n/d minor units of `base`, at `rate` base units for one unit."""
    if not rate.is_finite() or rate <= 0:
        raise MoneyError(f"{rate} is not a rate: write a decimal above zero")
    numerator, denominator = rate.as_integer_ratio()
    return numerator * 10 ** exponent_of(base), denominator * 10 ** exponent_of(currency)


def convert_minor(minor: int, currency: str, base: str, rate: Decimal) -> int:
    """`minor` units of `currency` in minor units of `base`, rounded half up; `rate` is base units for one unit.

    125000 (EUR) at 1.0850 is 135625 (USD). Exact for any size: no float and no context precision is involved.
    Raises `MoneyError` for a rate that is not above zero.
    """
    numerator, denominator = ratio(currency, base, rate)
    return (2 * minor * numerator + denominator) // (2 * denominator)
