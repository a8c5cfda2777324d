"""A script is run by the interpreter and with the options that its first line names."""

from __future__ import annotations

import subprocess

import pytest

from berth.commands import CommandError, LeaseFacts, Runtime, read, rewrite

LEASE = LeaseFacts(indices=(2, 3), visible=(2, 3), port=31007)


def started(script: str, **more):
    """What the worker executes for a script."""
    runtime = Runtime(python="/envs/twin/bin/python", accelerate_config="/berth/accelerate.yaml")
    return rewrite(read(None, script, **more), LEASE, runtime)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("#!/bin/bash", ["/bin/bash"]),
        ("#!/bin/bash -e", ["/bin/bash", "-e"]),
        ("#! /bin/bash -l", ["/bin/bash", "-l"]),
        ("#!/bin/sh -eu", ["/bin/sh", "-eu"]),
        ("#!/bin/bash\r", ["/bin/bash"]),
        ("#!/usr/bin/env bash", ["/usr/bin/env", "bash"]),
        ("#!/usr/bin/env -S bash -euo pipefail", ["/usr/bin/env", "bash", "-euo", "pipefail"]),
        ("#!/usr/bin/zsh -f", ["/usr/bin/zsh", "-f"]),
        ("# a comment", ["/bin/bash"]),
    ],
)
def test_a_shell_is_started_as_the_first_line_says(line, words):
    """Options of the first line change what a failure means: they are not dropped."""
    assert list(started(f"{line}\necho hi\n").argv[: len(words) + 1]) == [*words, "-c"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("#!/usr/bin/env python3", ["/envs/twin/bin/python", "script"]),
        ("#!/usr/bin/python3 -u", ["/usr/bin/python3", "-u", "script"]),
        ("#!/usr/bin/perl -w", ["/usr/bin/perl", "-w", "script"]),
        ("#!/usr/bin/env -S Rscript --vanilla", ["Rscript", "--vanilla", "script"]),
    ],
)
def test_another_program_gets_the_text_as_a_file(line, words):
    """Only shells take a text as an argument; none of the text is read as shell."""
    script = f"{line}\nimport os\ndeepspeed --num_gpus 8 # text of another language\n"

    made = started(script)

    assert list(made.argv)[-len(words) :] == words
    assert made.file_text == script
    assert read(None, script).gpus_wanted is None


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("#!", "names no interpreter"),
        ("#!/usr/bin/env bash -e", "write #!/usr/bin/env -S bash -e"),
        ("#!/bin/bash -e -x", "write #!/usr/bin/env -S bash -e -x"),
    ],
)
def test_a_first_line_that_starts_nothing_is_refused(line, sentence):
    """The kernel gives everything behind the interpreter as one word: those fail in a shell too."""
    with pytest.raises(CommandError) as caught:
        read(None, f"{line}\necho hi\n")

    assert sentence in str(caught.value)


def ran(script: str, **more) -> str:
    """What a script prints, run as the worker runs it."""
    argv = started(script, **more).argv
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(
    "said", ["$0", "${BASH_SOURCE[0]}", "$BASH_SOURCE", "${BASH_SOURCE[0]:-$0}", "${BASH_SOURCE}"]
)
def test_a_script_finds_its_own_folder(said):
    """`cd "$(dirname "$0")"` and its like lead to the folder of the file that was submitted."""
    script = f'#!/bin/bash -eu\ndirname "{said}"\n'

    assert ran(script, script_file="/home/ada/exp/go.sh") == "/home/ada/exp\n"
    assert ran(script) == ".\n"


def test_a_script_that_runs_only_as_the_main_program_runs():
    """The guard of scripts that can also be sourced."""
    assert ran('if [[ "${BASH_SOURCE[0]}" == "$0" ]]; then echo main; fi\n') == "main\n"


@pytest.mark.parametrize("line", ["", "#!/bin/bash\n", "#!/usr/bin/env bash\n"])
def test_a_failure_behind_tee_is_a_scripts_failure(line, tmp_path):
    """As with a line: a failed run does not look successful because its output went to tee."""
    script = f"{line}(exit 3) 2>&1 | tee {tmp_path}/log\n"

    done = subprocess.run(started(script).argv, check=False)

    assert done.returncode == 3


def test_a_shell_without_pipefail_is_told():
    """Without the option nothing is set, and a note says what would help."""
    view = read(None, "#!/bin/sh\nfalse | tee log\n")

    assert any("#!/bin/bash" in note for note in view.warnings)
    assert "pipefail" not in started("#!/bin/sh\nfalse | tee log\n").argv


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("./r.sh > x.log 2>&1", True),
        ("make train &> x.log", True),
        ("bash r.sh >> x.log", True),
        ("cd sub && ./r.sh > x.log", True),
        ("python t.py 2> errors.log", False),
        ("./r.sh > /dev/null", False),
        ("echo done > status.txt && python t.py", False),
    ],
)
def test_a_run_whose_output_goes_into_a_file_is_told(line, told):
    """Whatever program it is; a command beside the run may write what it likes."""
    notes = [note for note in read(line).warnings if "the job's log stays empty" in note]
    assert bool(notes) == told
