"""Counters that are born at zero."""

from exporter.core.accounting.counters import LONGEST_HOLD_MS, Counters, add, born, release, report, resumed

NOW = 1_000_000


def test_a_counter_is_born_at_zero_once() -> None:
    counters = born(Counters(), ["a"])
    assert (counters.values, counters.shown("a"), counters.shown("never born")) == ({"a": 0}, 0, 0)
    assert born(counters, ["a"]) is counters


def test_a_first_step_is_held_back_until_its_zero_was_scraped() -> None:
    counters = add(born(Counters(), ["a"]), {"a": 2}, NOW)
    assert (counters.shown("a"), counters.values["a"]) == (0, 2)
    scraped = release(counters, NOW + 1, ["a"])
    assert scraped.shown("a") == 2
    assert add(scraped, {"a": 1}, NOW + 2).shown("a") == 3


def test_a_new_counter_is_held_at_zero_too() -> None:
    counters = add(Counters(), {"reason": 1}, NOW)
    assert counters.shown("reason") == 0
    assert release(counters, NOW, ["reason"]).shown("reason") == 1


def test_a_zero_that_was_scraped_before_lets_the_first_step_show_at_once() -> None:
    counters = release(born(Counters(), ["a"]), NOW, ["a"])
    assert add(counters, {"a": 1}, NOW).shown("a") == 1


def test_nothing_is_held_for_longer_than_two_minutes_after_it_had_something_to_show() -> None:
    counters = add(born(Counters(), ["a"]), {"a": 1}, NOW)
    later = add(counters, {"a": 1}, NOW + 5)
    assert later.first_release() == NOW + LONGEST_HOLD_MS
    assert release(later, NOW + LONGEST_HOLD_MS - 1) is later
    assert release(later, NOW + LONGEST_HOLD_MS).shown("a") == 2


def test_a_clock_that_steps_back_holds_nothing_for_longer() -> None:
    counters = add(born(Counters(), ["a"]), {"a": 1}, NOW)
    assert release(counters, NOW - 1).shown("a") == 1


def test_a_zero_waits_for_its_scrape_without_a_limit() -> None:
    counters = born(Counters(), ["a"])
    assert counters.first_release() is None
    assert release(counters, NOW * 1000) is counters


def test_history_is_a_first_value_and_shown_at_once() -> None:
    counters = add(born(Counters(), ["a", "b"]), {"a": 5, "c": 1, "b": 0}, NOW, preexisting=True)
    assert [counters.shown(name) for name in "abc"] == [5, 0, 1]
    # What history left at zero is held like any other.
    assert add(counters, {"b": 1}, NOW).shown("b") == 0


def test_a_counter_of_somebody_else_may_begin_again() -> None:
    counters = release(report(Counters(), {"calls": 7}, NOW), NOW, ["calls"])
    assert report(counters, {"calls": 3}, NOW).shown("calls") == 3
    assert report(counters, {"calls": 7}, NOW) is counters


def test_after_a_restart_a_held_counter_is_held_for_two_minutes_again() -> None:
    counters = add(born(Counters(), ["a", "b"]), {"a": 1}, NOW)
    back = resumed(counters, NOW + LONGEST_HOLD_MS)
    assert release(back, NOW + LONGEST_HOLD_MS) is back
    assert (back.shown("a"), back.first_release()) == (0, NOW + 2 * LONGEST_HOLD_MS)
    nothing = born(Counters(), ["a"])
    assert resumed(nothing, NOW) is nothing
