"""Counters of logs: which of them is the run's, and what is said where nothing can be known."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berth_server.core.progress.pace import Pace
from berth_server.core.progress.reading import LogReading, Position


def fed(*texts: str, command: str = "", every_s: float = 2.0) -> Position | None:
    """The position after these pieces, one every two seconds."""
    reading = LogReading()
    reading.totals.read_command(command)
    for i, text in enumerate(texts):
        reading.feed(text.encode(), 1000.0 + every_s * i)
    return reading.position()


def place(*texts: str, command: str = "") -> tuple[float, float] | None:
    found = fed(*texts, command=command)
    return None if found is None else (found.step, found.total)


def bars(label: str, values: range, total: int, end: str = "") -> list[str]:
    return [
        f"\r{label}{100 * n // total:3}%|###  | {n}/{total} [00:{n:02}<00:09, 1.00it/s]{end}"
        for n in values
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("iter {}/20000: loss 3.1", (30, 20000)),
        ("step {} of 20000, loss 3.1", (30, 20000)),
        ("[step:{}/20000] loss=3.1", (30, 20000)),
        (
            "  iteration       {}/   20000 | consumed samples:   120 | lm loss: 3.1E+00 |",
            (30, 20000),
        ),
        ("2026-11-30 10:00:00,1 - INFO - train - Step [{}/20000] Loss: 3.1 Mem 3/80", (30, 20000)),
        ("global step {}/20000, epoch: 1, batch: 99, loss: 2.1", (30, 20000)),
        ("progress: {}.0% done, loss 2.1", (30, 100)),
        ("[####------]  {}%  00:00:10", (30, 100)),
        ('{{"global_step": {}, "max_steps": 20000, "loss": 2.1}}', (30, 20000)),
        ("\x1b[32m[{}/20000]\x1b[0m loss 3.1\x1b[K", (30, 20000)),
        ("{}/20000 ━━━━━━━━ 19s 511ms/step - accuracy: 0.1", (30, 20000)),
        ("Training:   0%|    | {}/20000 [00:10<1:00:00, 3.0it/s, loss=2]", (30, 20000)),
    ],
)
def test_steps_with_their_total_are_the_place(line, expected):
    """Whoever prints them, and whatever else stands in the line."""
    assert place(*(line.format(n) + "\n" for n in (10, 20, 30))) == expected


@pytest.mark.parametrize(
    "line",
    [
        "Downloading data:  {}%|###  | {}/100 [00:01<00:01, 3.0MB/s]",
        "Tokenizing train dataset:  {}%|###  | {}/100 [00:01<00:01, 900 examples/s]",
        "Map:  {}%|###  | {}/100 [00:01<00:01, 900.1 examples/s]",
        "Loading checkpoint shards:  {}%|###  | {}/100 [00:01<00:01, 1.1s/it]",
        "Evaluating:  {}%|###  | {}/100 [00:01<00:01, 1.1s/it]",
        "Validation DataLoader 0:  {}%|###  | {}/100 [00:01<00:01, 1.1s/it]",
        "GPU memory {}/80 GiB, accuracy {}/100",
        "11/{}/2026 10:00:00 - INFO - loss 1.1 {}",
        "[{}]\ttrain-rmse:0.9{}",
        "iter {}: loss 2.1{}",
        "Epoch 0:  {}%|###  | {}/100 [00:01<00:01, 1.1s/it, loss=2]",
        "Train Epoch: 1 [{}/60000 ({}%)]\tLoss: 0.3",
        "Stage 1:  {}%|###  | {}/100 [00:01<00:01, 1.1s/it]",
    ],
)
def test_what_is_not_the_run_or_has_no_total_is_no_place(line):
    """Data, weights, evaluation, memory, dates; an epoch of nobody knows how many."""
    assert place(*(line.format(n, n) + "\n" for n in (10, 20, 30))) is None


def test_the_outermost_bar_counts_and_what_is_within_refines_it():
    """Two bars below each other: the lower one's steps are parts of the upper one's."""
    texts = ["\r  0%|   | 0/4 [00:00<?, ?it/s]"]
    for epoch in (1, 2):
        texts += bars("", range(0, 61, 15), 60, "\x1b[A")
        texts.append(f"\r {25 * epoch}%|#  | {epoch}/4 [00:50<01:50, 50.0s/it]")
    texts += bars("", range(0, 31, 15), 60, "\x1b[A")
    found = fed(*texts)
    assert found is not None
    assert (found.step, found.total, found.fraction) == (2.5, 4, pytest.approx(0.625))


def test_epochs_on_a_line_of_their_own_hold_the_steps_after_them():
    """`Epoch 2/3` and then `17/55`."""
    texts = [
        "Epoch 1/3\n",
        *bars("", range(0, 56, 11), 55),
        "\nEpoch 2/3\n",
        *bars("", range(0, 23, 11), 55),
    ]
    found = fed(*texts)
    assert found is not None
    assert found.fraction == pytest.approx((1 + 22 / 55) / 3)


def test_an_epoch_line_with_a_loss_is_of_an_epoch_that_is_over():
    """`Epoch [2/20], train loss` is printed at its end, `Epoch 2/20` at its beginning."""
    assert place("Epoch [1/20], loss: 3\n", "Epoch [2/20], loss: 2\n") == (2, 20)
    assert place("Epoch 1/20\n", "Epoch 2/20\n") == (1, 20)


def test_steps_of_the_whole_run_are_not_taken_for_an_epoch_s():
    """A counter that goes on when the epoch turns counts the run."""
    texts = [f"Epoch {1 + n // 50}/3 step {n}/150 loss 2\n" for n in range(0, 80, 10)]
    assert place(*texts) == (70, 150)


def test_evaluation_of_the_same_form_is_not_the_run():
    """The Trainer draws it without a description, below its own bar."""
    texts = bars("", range(0, 51, 10), 160)
    texts += ["\n" + bar for bar in bars("", range(0, 12, 2), 12, "\x1b[A")]
    assert place(*texts) == (50, 160)


def test_the_number_of_steps_may_stand_elsewhere():
    """In a setting that is printed, or an option of the command; two that differ are none."""
    lines = [f"iter {n}: loss 2.1, time 60ms\n" for n in (10, 20, 30)]
    assert place("Overriding: max_iters = 200\n", *lines) == (30, 200)
    assert place(*lines, command="python train.py --max_iters 500") == (30, 500)
    assert place("max_iters = 200\nmax_steps = 900\n", *lines) is None
    assert place("eval_iters = 20\nlog_iters = 10\n", *lines) is None


def test_a_total_that_is_passed_is_none():
    """A script that planned for fewer steps than it makes says nothing of the end."""
    assert place(*(f"step {n}/100 loss 2\n" for n in (80, 100, 120))) is None


def test_epochs_that_nothing_counts_are_counted_where_their_number_is_known():
    """A bare bar that begins again, of a command with `--epochs 4`."""
    passes = [bar for _ in range(2) for bar in bars("", range(0, 61, 5), 60)]
    found = fed(*passes, command="python train.py --epochs 4")
    assert found is not None
    assert found.fraction == pytest.approx(0.5, abs=0.01)
    assert fed(*passes) is None


def test_lines_of_other_ranks_are_no_restart():
    """Four ranks print the same counter, a little apart."""
    texts = [f"step {n + d}/500 loss 2\n" for n in range(0, 60, 4) for d in (2, 0, 3, 1)]
    found = fed(*texts)
    assert found is not None
    assert found.total == 500
    assert 56 <= found.step <= 60


def test_a_new_phase_does_not_continue_the_last():
    """After a long bar another begins: nobody knows whether it is the last."""
    texts = [*bars("warm ", range(0, 101, 5), 100), *bars("main ", range(0, 20, 5), 1000)]
    assert place(*texts) is None


def counted_down(line: str, lefts: list[float], command: str = "") -> LogReading:
    """A log of lines five seconds apart that state a time left."""
    reading = LogReading()
    reading.totals.read_command(command)
    for i, left_s in enumerate(lefts):
        minutes, seconds = divmod(int(left_s), 60)
        text = line.format(i=i, n=10 * i, eta=f"0:{minutes:02}:{seconds:02}") + "\n"
        reading.feed(text.encode(), 1000.0 + 5 * i)
    return reading


@pytest.mark.parametrize(
    "line",
    [
        "[11/30 10:00:00 d2.utils.events]:  eta: {eta}  iter: {n}  total_loss: 2.3  lr: 0.01",
        "11/30 10:00:00 - mmengine - INFO - Epoch(train) [1][{n}/100]  lr: 1e-2  eta: {eta}  loss: 2",
    ],
)
def test_a_time_left_that_a_log_states_is_believed_once_it_keeps_its_word(line):
    """Where no counter tells: it goes down as time passes, and is of more than the epoch."""
    reading = counted_down(line, [400 - 5 * i for i in range(8)])
    found = reading.position()
    assert found is not None
    assert found.fraction == pytest.approx(35 / 400, abs=0.01)
    left = reading.countdown.left(1035.0)
    assert left is not None
    assert left.p50_s == pytest.approx(365, abs=2)


def test_a_time_left_of_an_epoch_is_not_the_run_s():
    """It is as long as the epoch's own steps take, and starts over at the next."""
    line = "Epoch: [0]  [{n}/100]  eta: {eta}  lr: 0.1  loss: 4.8"
    assert counted_down(line, [50 - 5 * i for i in range(9)]).position() is None
    line = "eta: {eta} loss: 2.3"
    again = [max(1, 50 - 5 * (i % 10)) for i in range(18)]
    assert counted_down(line, [float(one) for one in again]).position() is None


def test_a_time_left_that_jumps_about_is_not_believed():
    """Estimates of a few steps, or of something else."""
    line = "eta: {eta} loss: 2.3"
    assert counted_down(line, [400, 90, 700, 30, 500, 60, 900, 20]).position() is None


def timed(*steps: tuple[float, float]) -> Pace:
    pace = Pace()
    for at, fraction in steps:
        pace.add(at, fraction)
    return pace


def test_the_steps_that_a_resumed_run_counts_at_once_are_no_pace():
    """0, then 40 of 100 within a second, then one in ten seconds."""
    pace = timed((0, 0.0), (1, 0.40), *((1 + 10 * n, 0.40 + 0.01 * n) for n in range(1, 12)))
    left = pace.left(112)
    assert left is not None
    assert left.p50_s == pytest.approx(490, rel=0.1)


def test_a_slow_first_minute_is_forgotten():
    """Compiling, caches: the pace is that of the later steps."""
    slow = [(20.0 * n, 0.005 * n) for n in range(4)]
    fast = [(60 + 2.0 * n, 0.015 + 0.01 * n) for n in range(1, 20)]
    left = timed(*slow, *fast).left(98)
    assert left is not None
    assert left.p50_s == pytest.approx((1 - 0.205) * 200, rel=0.1)


def test_pauses_that_come_back_are_reckoned_with():
    """An evaluation of 30 s after every tenth part; during one the time left stands still."""
    at, points = 0.0, []
    for n in range(36):
        points.append((at, n / 100))
        at += 30 if n % 10 == 9 else 2
    left = timed(*points).left(points[-1][0])
    assert left is not None
    assert left.p50_s == pytest.approx(65 * 2 + 6.5 * 28, rel=0.15)
    later = timed(*points).left(points[-1][0] + 25)
    assert later is not None
    assert later.p50_s >= left.p50_s - 5


def test_silence_is_not_believed_for_long():
    """Ten times as long as ever before, and a minute at least: nothing is told any more."""
    pace = timed(*((2.0 * n, n / 100) for n in range(20)))
    assert pace.left(40) is not None
    assert pace.left(38 + 59) is not None
    assert pace.left(38 + 61) is None


NOISE = st.one_of(
    st.binary(max_size=400),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.from_regex(
        rb"\A(\r|\n)?(Epoch |step |iter |\[)?[0-9]{1,20}(\.[0-9]{0,12})?(/| of |%\|#+\| )"
        rb"[0-9]{1,20}( \[[0-9]{2}:[0-9]{2}<\?)?(loss nan)?\Z"
    ),
    st.sampled_from([b"nan/inf", b"1e999/2", b"-5/10", b"0/0\n", b"\x1b[" * 90, b"\x08" * 300]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(NOISE, st.floats(0, 1e10)), max_size=20))
def test_no_log_makes_it_fail_or_tell_nonsense(pieces):
    """Whatever a job writes: a fraction from 0 to 1, numbers that are numbers, or nothing."""
    reading, pace = LogReading(), Pace()
    for data, at in pieces:
        for found in reading.feed(data, at):
            assert 0.0 <= found.fraction <= 1.0
            assert 0.0 <= found.step <= found.total
            pace.add(found.at, found.fraction)
        left = pace.left(at)
        assert left is None or 0.0 <= left.p50_s <= left.p90_s < float("inf")


@pytest.mark.parametrize(
    "data",
    [
        b"x" * (8 << 20),
        b"9" * (8 << 20),
        b"1/2 " * (2 << 20),
        b"\r" * (8 << 20),
        b" " * 500 + b"1/2\n" + b"a b c d e f " * 50_000,
        b"[" * (4 << 20),
        b"\n".join(b"%d/%d a%d" % (i, i * 7, i) for i in range(200_000)),
        b"\n".join(b"l%s %d/%d" % (b"abcdefghij"[i % 9 :], i, i * 3) for i in range(200_000)),
        b"\x1b[1;2;" * (1 << 20),
        (b"epoch step iter " * 40 + b"\n") * 5000,
    ],
    ids=range(10),
)
def test_a_look_at_hostile_megabytes_is_bounded(data):
    """A few hundred pieces of a few hundred characters are read, whatever was written."""
    reading = LogReading()
    began = time.process_time()
    reading.feed(data, 1.0)
    reading.position()
    assert time.process_time() - began < 2.0
