"""Numbers of steps are rounded up: few are left, and little is added."""

from unroll.encoders.layout import round_up


def test_steps_are_rounded_up_by_a_sixteenth_at_most():
    assert all(steps <= round_up(steps) <= steps * 17 / 16 for steps in range(1, 10_000))


def test_few_numbers_of_steps_are_left():
    assert [round_up(steps) for steps in (1, 31, 32, 33, 100, 270, 1023)] == [1, 31, 32, 34, 100, 272, 1024]
    assert len({round_up(steps) for steps in range(1, 1025)}) == 31 + 5 * 16 + 1
