"""Promises about every command, tried on random ones."""

from __future__ import annotations

import contextlib
import shlex

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from berth.commands import CommandError, LeaseFacts, Runtime, describe, read, rewrite

PORT = 31007
RUNTIME = Runtime(python="/envs/twin/bin/python", accelerate_config="/berth/accelerate.yaml")
QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

WORDS = r"""deepspeed accelerate launch torchrun python -m train.py --num_gpus=4 --num_gpus 4 --include
    localhost:1,2 --nproc_per_node gpu --standalone CUDA_VISIBLE_DEVICES=1,2 A=b env nohup & && | ;
    > log 2>&1 $(nproc) ${N} `x` ' " \ # ( ) { } <<EOF bash -c if then fi for do done wait export
    unset --gpu_ids 4,5 ~ * --world_info=e30= --master_port 29500 -- - = --gpu_ids=7 —x $'a' cd
"""
FRAGMENTS = st.sampled_from([*WORDS.split(), "\n"])
NOISE = st.one_of(
    st.text(max_size=80),
    st.text(alphabet="ab='\"\\$`(){}|&;<>#*~ \n-0,", max_size=60),
    st.lists(FRAGMENTS, max_size=14).map(" ".join),
    st.lists(FRAGMENTS, max_size=14).map("".join),
)
LEASES = st.builds(
    lambda cards, fenced: LeaseFacts(
        indices=tuple(sorted(cards)),
        visible=tuple(range(len(cards))) if fenced else tuple(sorted(cards)),
        port=PORT,
    ),
    st.sets(st.integers(0, 15), min_size=1, max_size=8),
    st.booleans(),
)


@QUICK
@given(NOISE, LEASES)
def test_any_text_is_read_or_refused_in_a_sentence(text, lease):
    """Reading, describing and rewriting raise nothing but CommandError, whatever the text."""
    for arguments in ((text,), (None, text), ([text],), (text.split(),)):
        with contextlib.suppress(CommandError):
            view = read(*arguments)
            describe(view)
            made = rewrite(view, lease, RUNTIME)
            assert "\n" not in made.before
            assert "\n" not in made.after
            assert all("\0" not in each for each in made.argv)


ARGUMENTS = st.lists(
    st.one_of(
        st.sampled_from(["--lr", "1e-5", "--config", "config.json", "--deepspeed", "--num_gpus=3"]),
        st.from_regex(r"\A[a-z0-9 '$*]{1,8}\Z"),
    ),
    max_size=6,
)
DEEPSPEED_FLAGS = [
    ["--num_gpus=4"],
    ["--num_gpus", "4"],
    ["--include", "localhost:4,5,6,7"],
    ["--master_port=29501"],
    ["--master_port", "29501"],
    ["--master_addr", "10.0.0.1"],
    ["--no_local_rank"],
    ["--bind_cores_to_rank"],
    ["--enable_each_rank_log", "logs"],
]
ACCELERATE_FLAGS = [
    ["--num_processes=4"],
    ["--num-processes", "4"],
    ["--gpu_ids", "4,5,6,7"],
    ["--main_process_port", "29501"],
    ["--main-process-port=29501"],
    ["--multi_gpu"],
    ["--use_deepspeed"],
    ["--mixed_precision", "bf16"],
    ["--config_file", "c.yaml"],
    ["--num_machines=1"],
]
TORCHRUN_FLAGS = [
    ["--nproc_per_node=4"],
    ["--nproc-per-node", "gpu"],
    ["--standalone"],
    ["--master_port=29501"],
    ["--rdzv-endpoint", "localhost:29501"],
    ["--rdzv_backend=c10d"],
    ["--max-restarts", "1"],
    ["-r", "3"],
    ["--nnodes=1:1"],
]
LAUNCHES = st.one_of(
    st.tuples(st.just(["deepspeed"]), st.lists(st.sampled_from(DEEPSPEED_FLAGS), max_size=4)),
    st.tuples(
        st.just(["python", "-m", "deepspeed"]),
        st.lists(st.sampled_from(DEEPSPEED_FLAGS), max_size=4),
    ),
    st.tuples(
        st.just(["accelerate", "launch"]), st.lists(st.sampled_from(ACCELERATE_FLAGS), max_size=4)
    ),
    st.tuples(st.just(["torchrun"]), st.lists(st.sampled_from(TORCHRUN_FLAGS), max_size=4)),
    st.tuples(
        st.just(["python", "-m", "torch.distributed.run"]),
        st.lists(st.sampled_from(TORCHRUN_FLAGS), max_size=4),
    ),
)


@QUICK
@given(LAUNCHES, ARGUMENTS, LEASES, st.booleans(), st.booleans())
def test_every_launch_is_kept_to_its_lease(launch, arguments, lease, named, in_shell):
    """
    Read again, a rewritten launch wants exactly the leased number of GPUs; the user's port is
    gone; the script's own arguments come through untouched and in order.
    """
    program, flags = launch
    words = [*program, *(word for flag in flags for word in flag), "train.py", *arguments]
    line = ("CUDA_VISIBLE_DEVICES=4,5 " if named else "") + shlex.join(words)
    line += " > train.log" if in_shell else ""

    made = rewrite(read(line), lease, RUNTIME)

    again = read(list(made.argv))
    assert again.gpus_wanted == len(lease.indices)
    assert again.script_path == "train.py"
    assert list(again.script_args) == arguments
    started = made.argv[-1] if in_shell else shlex.join(made.argv)
    assert "29501" not in started
    assert str(PORT) in started
    assert made.env["CUDA_VISIBLE_DEVICES"] == ",".join(str(card) for card in lease.visible)
    for change in made.changes:
        assert change.what != change.became


@QUICK
@given(LAUNCHES, ARGUMENTS, LEASES)
def test_rewriting_twice_is_rewriting_once(launch, arguments, lease):
    """A command that was made safe is not changed again by the same lease."""
    program, flags = launch
    words = [*program, *(word for flag in flags for word in flag), "train.py", *arguments]

    once = rewrite(read(words), lease, RUNTIME)
    twice = rewrite(read(list(once.argv)), lease, RUNTIME)

    assert twice.argv == once.argv
    assert twice.changes == ()


PLAIN = st.text(alphabet="abcXYZ019 '\"\\$*?[]{}~#!=%@^_+-./:,éß", min_size=0, max_size=20)


@QUICK
@given(st.lists(PLAIN, min_size=1, max_size=8))
def test_quoted_words_are_read_as_a_shell_reads_them(words):
    """A line quoted by shlex is taken apart into the very same words."""
    view = read(shlex.join(["./program", *words]))

    assert view.argv == ("./program", *words)
    assert not view.is_shell
