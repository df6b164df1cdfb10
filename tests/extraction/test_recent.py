"""Values that are kept up to so many bytes."""

from __future__ import annotations

from structure.pipeline.extraction.recent import Recent


def test_the_values_asked_for_last_are_kept_within_the_limit() -> None:
    recent, made = Recent(10), list[str]()

    def ask(key: str, size: int = 4) -> str:
        return recent.once(key, lambda: made.append(key) or key.upper(), size=lambda _: size)

    assert [ask(key) for key in "abab"] == ["A", "B", "A", "B"]
    assert made == ["a", "b"]
    ask("a")
    ask("c")  # 12 bytes: b, which was asked for first, goes
    assert made == ["a", "b", "c"]
    ask("a")
    ask("b")
    assert made == ["a", "b", "c", "b"]
    assert ask("large", 11) == "LARGE"  # and is not kept, nor what it drove out
    ask("large", 11)
    ask("a")
    assert made == ["a", "b", "c", "b", "large", "large", "a"]
