"""The traces of a failed run give an outcome and a sentence that names the fix."""

from __future__ import annotations

import signal
import time
from datetime import timedelta

import pytest

from berth.protocol.base import utc_now
from berth.protocol.internal import DesiredAttempt, ExitRecord
from berth.protocol.states import Outcome
from berth_worker.diagnose import Evidence, judge

TORCHRUN_END = """
W1124 04:10:01.100000 811 torch/distributed/elastic/multiprocessing/api.py:908] Sending process 812 closing signal SIGTERM
E1124 04:10:01.200000 811 torch/distributed/elastic/multiprocessing/api.py:882] failed (exitcode: 1) local_rank: 1 (pid: 813) of binary: /envs/twin/bin/python
Traceback (most recent call last):
  File "/envs/twin/bin/torchrun", line 8, in <module>
    sys.exit(main())
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
train.py FAILED
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-24_04:10:01
  host      : box
  rank      : 1 (local_rank: 1)
  exitcode  : {code} (pid: 813)
  error_file: <N/A>
============================================================
"""
DEEPSPEED_END = """
[2026-11-24 04:10:01,100] [INFO] [launch.py:335:sigkill_handler] Killing subprocess 812
[2026-11-24 04:10:01,200] [ERROR] [launch.py:341:sigkill_handler] ['python', '-u', 'train.py', '--local_rank=1'] exits with return code = {code}
"""

KNOWN = {
    "gpu memory": (
        (
            "[rank1]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 "
            "has a total capacity of 79.10 GiB of which 3.20 GiB is free."
        ),
        "oom_gpu",
        "20.00 GiB",
    ),
    "gpu memory, mapped": (
        "RuntimeError: expandable_segments: memory mapping failed with OOM",
        "oom_gpu",
        "micro-batch",
    ),
    "gpu memory, driver": (
        "torch.AcceleratorError: CUDA error: out of memory",
        "oom_gpu",
        "berth gpus",
    ),
    "shm": (
        (
            "RuntimeError: unable to allocate shared memory(shm) for file </torch_1>: No space left on "
            "device (28)"
        ),
        "exit",
        "/dev/shm",
    ),
    "disk, plainly": (
        (
            "safetensors_rust.SafetensorError: Error while serializing: I/O error: No space left on "
            "device (os error 28)"
        ),
        "disk_full",
        "free space",
    ),
    "disk, in a shard": (
        "RuntimeError: [enforce fail at inline_container.cc:664] . unexpected pos 704 vs 598",
        "disk_full",
        "free space",
    ),
    "disk, in a stream": (
        "RuntimeError: basic_ios::clear: iostream error",
        "disk_full",
        "checkpoints",
    ),
    "host memory, refused": (
        (
            "RuntimeError: [enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate "
            "memory: you tried to allocate 80000000000 bytes."
        ),
        "oom_host",
        "host memory",
    ),
    "port": (
        (
            "torch.distributed.DistNetworkError: The server socket has failed to listen on any local "
            "network address. port: 29500, useIpv6: false, code: -98, name: EADDRINUSE"
        ),
        "exit",
        "MASTER_PORT",
    ),
    "ordinal": (
        "torch.AcceleratorError: CUDA error: invalid device ordinal",
        "exit",
        "LOCAL_RANK",
    ),
    "assert": (
        "torch.AcceleratorError: CUDA error: device-side assert triggered",
        "exit",
        "CUDA_LAUNCH_BLOCKING",
    ),
    "world size": (
        (
            "deepspeed.runtime.zero.utils.ZeRORuntimeException: The checkpoint being loaded used a DP "
            "world size of 2 but the current world size is 4."
        ),
        "exit",
        "universal checkpoint",
    ),
    "half a checkpoint": (
        (
            "FileNotFoundError: [Errno 2] No such file or directory: "
            "'outputs/checkpoint-10/trainer_state.json'"
        ),
        "exit",
        "incomplete",
    ),
    "batch": (
        (
            "AssertionError: Check batch related parameters. train_batch_size is not equal to "
            "micro_batch_per_gpu * gradient_acc_step * world_size 4 != 2 * 1 * 1"
        ),
        "exit",
        '"auto"',
    ),
    "extension": (
        "RuntimeError: Error building extension 'cpu_adam'",
        "exit",
        "compiler",
    ),
    "partitioned": (
        "RuntimeError: The size of tensor a (0) must match the size of tensor b (4096)",
        "exit",
        "ZeRO-3",
    ),
    "roles": (
        "jinja2.exceptions.TemplateError: Conversation roles must alternate user/assistant/...",
        "exit",
        "chat template",
    ),
    "collective": (
        (
            "[rank0]:[E1124 ProcessGroupNCCL.cpp:685] [Rank 0] Watchdog caught collective operation "
            "timeout: WorkNCCL(SeqNum=12, OpType=ALLREDUCE) ran for 1800000 milliseconds"
        ),
        "stalled",
        "ranks",
    ),
    "module": (
        "ModuleNotFoundError: No module named 'peft'",
        "exit",
        "module peft is missing",
    ),
    "script": (
        "/envs/bin/python: can't open file '/home/ada/train.py': [Errno 2] No such file or directory",
        "exit",
        "/home/ada/train.py does not exist",
    ),
}


def evidence(
    text: str = "", *, code: int | None = 1, number: int | None = None, **more
) -> Evidence:
    desired = DesiredAttempt(
        attempt="42.1",
        token="t",
        action=more.pop("action", "run"),
        stop_reason=more.pop("stop_reason", None),
        run_dir="/runs/42/1",
        job_id=42,
        number=1,
        user="ada",
        command="true",
        workdir="/",
        gpus=(),
        master_port=more.pop("port", None),
        time_limit=timedelta(hours=12),
        grace=timedelta(seconds=60),
        warn_before=timedelta(seconds=60),
    )
    ended = utc_now()
    record = ExitRecord(
        attempt="42.1",
        started_at=ended - timedelta(seconds=more.pop("ran_s", 60)),
        exit_code=code if number is None else None,
        signal=number,
        cause=more.pop("cause", "exit"),
        message=more.pop("said", None),
        killed=more.pop("killed", 0),
        ended_at=ended,
    )
    return Evidence(desired=desired, record=record, log_tail=text.encode(), **more)


@pytest.mark.parametrize("case", KNOWN, ids=lambda case: case.replace(" ", "-"))
@pytest.mark.parametrize("launcher", ["python", "torchrun", "deepspeed"])
def test_known_failures_are_recognised(case, launcher):
    """Under every launcher, whatever it says afterwards; one sentence, one line."""
    line, outcome, word = KNOWN[case]
    end = {"python": "", "torchrun": TORCHRUN_END, "deepspeed": DEEPSPEED_END}[launcher]
    verdict = judge(evidence(f"step 1 loss 2.0\nTraceback ...\n{line}\n{end.format(code=1)}"))
    assert verdict.outcome == outcome
    assert word in verdict.message
    assert "\n" not in verdict.message
    assert verdict.message.endswith(".")


def test_an_unknown_error_is_quoted_from_the_rank_that_failed_first():
    """Not the launcher's last line, nor the ranks that only lost their neighbour."""
    text = (
        "step 7\n[rank1]: Traceback (most recent call last):\n[rank1]: ValueError: no dialogue in "
        "data/train.jsonl\n[rank0]: RuntimeError: [gloo] Connection closed by peer [127.0.0.1]:1\n"
    )
    verdict = judge(evidence(text + TORCHRUN_END.format(code=1)))
    assert verdict.message == (
        "Exited with code 1; rank 1 failed first: ValueError: no dialogue in data/train.jsonl"
    )
    verdict = judge(evidence(text + DEEPSPEED_END.format(code=1)))
    assert verdict.message.endswith("the log says: ValueError: no dialogue in data/train.jsonl")


def test_errors_that_a_run_survived_are_not_its_end():
    """A caught import error long before does not hide what came last."""
    text = "ModuleNotFoundError: No module named 'triton'\n" + "step\n" * 100 + "bad config\n"
    assert judge(evidence(text, code=3)).message == "Exited with code 3; the log says: bad config"


def test_progress_bars_and_colours_are_read_through():
    """Carriage returns and terminal codes do not get into the sentence."""
    text = "10%|#   |\r20%|##  |\r\x1b[31mfatal: the end\x1b[0m\n\x1b[0m\n"
    assert judge(evidence(text)).message.endswith("the log says: fatal: the end")


def test_an_empty_log_gives_a_sentence():
    """An empty log gives a whole sentence all the same."""
    assert judge(evidence(code=2)).message == "Exited with code 2; its log says nothing."


@pytest.mark.parametrize(
    ("text", "how"),
    [
        ("", {"number": signal.SIGKILL}),
        ("", {"code": 137}),
        ("", {"code": 247}),
        (TORCHRUN_END.format(code=-9), {"code": 1}),
        (DEEPSPEED_END.format(code=-9), {"code": 247}),
    ],
)
def test_a_kill_by_the_kernel_is_host_memory(text, how):
    """Only with the kernel's own count as a witness; else a user killed it."""
    assert judge(evidence(text, memory_kills=1, **how)).outcome == "oom_host"
    assert judge(evidence(text, memory_kills=0, **how)).outcome == "exit"


def test_a_kill_without_a_witness_names_both_who_may_have_done_it():
    """Of a job that was over within 0.1 s the kernel's kills were not counted."""
    message = judge(evidence(memory_kills=0, number=signal.SIGKILL)).message
    assert "A user killed it, or the kernel did because memory was short" in message


def test_a_neighbour_on_the_gpu_is_named():
    """An OOM is not the user's fault when another process holds the memory."""
    text = (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total "
        "capacity of 79.10 GiB. Process 4242 has 31.20 GiB memory in use.\n"
    )
    verdict = judge(evidence(text, own_pids=frozenset({813})))
    assert (verdict.outcome, "4242" in verdict.message) == ("oom_gpu", True)
    verdict = judge(evidence(text, own_pids=frozenset({4242})))
    assert "4242" not in verdict.message


def test_fragments_are_named():
    """Much memory that is reserved but unallocated has its own fix."""
    text = (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. 60.00 GiB is "
        "allocated by PyTorch, and 12.50 GiB is reserved by PyTorch but unallocated.\n"
    )
    assert "expandable_segments:True" in judge(evidence(text)).message


def test_the_jobs_own_diagnosis_comes_first():
    """failure.json is nearer to the truth than any log; kinds it may not claim are plain exits."""
    text = KNOWN["gpu memory"][0]
    verdict = judge(evidence(text, failure=("disk_full", "The disk is\nfull: free some.")))
    assert (verdict.outcome, verdict.message) == ("disk_full", "The disk is full: free some.")
    verdict = judge(evidence(text, failure=("escaped", "Look.")))
    assert (verdict.outcome, verdict.message) == ("exit", "Look.")


@pytest.mark.parametrize("cause", ["exit", "time_limit"])
@pytest.mark.parametrize("code", [0, 255])
def test_a_job_may_ask_to_be_queued_again(cause, code):
    """With any exit code; a stop that Berth was asked for goes before it."""
    asked = ("requeue", "It saved\nits state.")
    verdict = judge(evidence(code=code, cause=cause, failure=asked))
    assert (verdict.outcome, verdict.message) == ("preempted", "It saved its state.")
    stopped = {"cause": "stopped", "action": "stop", "stop_reason": Outcome.CANCELLED}
    assert judge(evidence(failure=asked, **stopped)).outcome == "cancelled"


def test_a_full_disk_is_seen_even_when_no_message_says_so():
    """Writers that fail without the word space."""
    verdict = judge(evidence("RuntimeError: write failed", free_bytes=4096))
    assert verdict.outcome == "disk_full"


def test_a_crash_in_native_code_is_reported():
    """SIGSEGV by signal, by shell code and by launcher."""
    for found in (
        evidence(number=signal.SIGSEGV),
        evidence(code=139),
        evidence(TORCHRUN_END.format(code=-11)),
    ):
        assert "native code" in judge(found).message


def test_ends_that_were_ordered():
    """A stop has the server's reason, the time limit its own; both say when it took force."""
    stopped = {"cause": "stopped", "action": "stop"}
    assert judge(evidence(**stopped)).outcome == "cancelled"
    verdict = judge(evidence(**stopped, stop_reason=Outcome.PREEMPTED, killed=2))
    assert (verdict.outcome, "grace of 1m" in verdict.message) == ("preempted", True)
    verdict = judge(evidence(cause="time_limit"))
    assert (verdict.outcome, "12h" in verdict.message) == ("time_limit", True)


def test_a_missing_record_is_lost():
    """With the reason, where it is known."""
    desired = evidence().desired
    verdict = judge(Evidence(desired=desired, record=None, rebooted=True))
    assert (verdict.outcome, "restarted" in verdict.message) == ("lost", True)
    assert judge(Evidence(desired=desired, record=None)).outcome == "lost"


def test_what_the_shim_says_is_passed_on():
    """Ranks that outlive their launcher."""
    assert judge(evidence(said="The launcher ended.")).message == "The launcher ended."


FORKED = (
    "/home/ada/train.py:3: DeprecationWarning: This process is multi-threaded, use of fork() may lead "
    "to deadlocks in the child.\n  if os.fork()==0:\n"
)


@pytest.mark.parametrize(
    ("how", "name"),
    [
        ({"number": signal.SIGKILL}, "SIGKILL"),
        ({"number": signal.SIGTERM}, "SIGTERM"),
        ({"number": signal.SIGHUP}, "SIGHUP"),
        ({"code": 137}, "SIGKILL"),
        ({"code": 143}, "SIGTERM"),
    ],
)
def test_a_signal_explains_an_end_and_no_line_of_the_log(how, name):
    """Neither a warning nor the source below it is a cause; who sent it is said as far as known."""
    message = judge(evidence("step 7\n" + FORKED, kills_counted=True, **how)).message
    assert name in message
    assert "Berth did not send it" in message
    assert "a user or a process of its own" in message
    assert message.endswith("its log ends: step 7")
    assert "os.fork" not in message


def test_an_error_that_was_survived_does_not_explain_a_signal():
    """Out of memory an hour before a colleague's kill is no cause of it."""
    text = "CUDA out of memory. Tried to allocate 2.00 GiB\n" + "step\n" * 100
    killed = judge(evidence(text, number=signal.SIGKILL))
    assert (killed.outcome, "its log ends: step" in killed.message) == ("exit", True)
    near = text + "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 4.00 GiB\n"
    assert judge(evidence(near, code=137)).outcome == "oom_gpu"


def test_a_warning_is_no_cause_of_an_exit():
    """A run that says nothing but a warning has said nothing."""
    assert judge(evidence(FORKED, code=2)).message == "Exited with code 2; its log says nothing."
    assert judge(evidence("bad config\n" + FORKED, code=2)).message.endswith("says: bad config")


def test_a_shim_that_failed_is_told_as_berths_fault():
    """With the reason, and that nothing of the job is left."""
    desired = evidence().desired
    verdict = judge(Evidence(desired=desired, record=None, shim_error="RecursionError: deep"))
    assert (verdict.outcome, "RecursionError: deep" in verdict.message) == ("lost", True)


PORT_LINE = "The server socket has failed to listen. port: 29612, code: -98, name: EADDRINUSE"


@pytest.mark.parametrize(
    ("port", "busy", "ran_s", "outcome", "said"),
    [
        (29612, True, 8, "launch_error", "29612 is taken by a process outside this Berth"),
        (29612, True, 4000, "exit", "submit it again"),
        (29612, False, 8, "exit", "two launchers at once"),
        (29700, True, 8, "exit", "use MASTER_PORT"),
        (2961, True, 8, "exit", "use MASTER_PORT"),
    ],
)
def test_a_port_that_is_taken_is_told_apart(port, busy, ran_s, outcome, said):
    """The leased port in a stranger's hands soon after the start: that alone is tried again."""
    found = judge(evidence(PORT_LINE, port=port, ran_s=ran_s, port_busy=busy))

    assert (found.outcome, found.port_taken) == (outcome, outcome == "launch_error")
    assert said in found.message


@pytest.mark.parametrize(
    "piece",
    [
        *(
            "9",
            "1.",
            ".",
            "A_",
            "rank ",
            " ",
            "1:",
            "\x1b[",
            "Root Cause (first observed failure):",
        ),
        *("CUDA out of memory. 9", "torch.OutOfMemoryError: ", "Process 9 has 1.2.3 ", "x.py:1: "),
    ],
)
def test_no_log_keeps_the_worker_busy(piece):
    """The end of a log is as a job likes it; a look at it takes milliseconds, not its square."""
    begun = time.process_time()
    assert judge(evidence("CUDA out of memory. " + piece * (250_000 // len(piece)))).message
    assert time.process_time() - begun < 3.0
