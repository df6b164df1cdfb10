"""The fingerprint changes with every real field and with nothing else."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from structure.store.fingerprint import differences, fingerprint

VALUES = st.one_of(st.integers(), st.text(min_size=1), st.booleans(), st.floats(allow_nan=False, allow_infinity=False))
IDENTITIES = st.dictionaries(
    st.sampled_from(["encoder", "data", "extraction"]),
    st.dictionaries(st.text("abcdef", min_size=1, max_size=4), VALUES, min_size=1, max_size=5),
    min_size=1,
)


@given(IDENTITIES, st.data())
def test_every_field_counts(identity: dict[str, dict[str, Any]], data: st.DataObject) -> None:
    section = data.draw(st.sampled_from(sorted(identity)))
    name = data.draw(st.sampled_from(sorted(identity[section])))
    changed = {key: dict(value) for key, value in identity.items()}
    changed[section][name] = f"{identity[section][name]}!"
    assert fingerprint(changed) != fingerprint(identity)
    assert [path for path, _, _ in differences(changed, identity)] == [f"{section}.{name}"]


@given(IDENTITIES)
def test_empty_optional_fields_and_order_do_not_count(identity: dict[str, dict[str, Any]]) -> None:
    padded = {key: {"zz": None, **value, "yy": "", "xx": [], "ww": {}} for key, value in reversed(identity.items())}
    assert fingerprint(padded) == fingerprint(identity)
    assert differences(padded, identity) == []


def test_false_and_zero_are_real_values() -> None:
    assert len({fingerprint({"a": value}) for value in (None, False, 0.5, "0", [0])}) == 5
