"""Inside a fence the covered devices are gone, and a job cannot uncover them."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

import pytest

from berth_worker.fence import APPLY, probe

NOBODY = 65534
# Harmless devices stand for other people's GPUs.
OTHERS = ("/dev/zero", "/dev/full")
DROPPED = (2, 16, 17, 19, 21, 27, 39)


def test_other_devices_are_covered_for_all_descendants(fenced, as_root):
    """The masked devices read as /dev/null in the job and its children; the rest is as it was."""
    seen = fenced(
        """
child = subprocess.run([sys.executable, "-I", "-S", "-c",
    "import os; print(os.stat('/dev/zero').st_rdev == os.stat('/dev/null').st_rdev)"],
    capture_output=True, text=True)
tell(zero=covered("/dev/zero"), full=covered("/dev/full"), other=covered("/dev/urandom"),
     child=child.stdout.strip(), read=open("/dev/zero", "rb").read(4).hex())
""",
        *OTHERS,
    )

    assert seen == {"zero": True, "full": True, "other": False, "child": "True", "read": ""}
    assert Path("/dev/zero").stat().st_rdev != Path("/dev/null").stat().st_rdev


def test_a_job_of_roots_cannot_uncover_them(fenced, as_root):
    """Without the capabilities root can neither unmount nor make nor borrow a device."""
    seen = fenced(
        """
def enter_namespace_of_init():
    fd = os.open("/proc/1/ns/mnt", os.O_RDONLY)
    if libc.setns(fd, 0):
        raise OSError(ctypes.get_errno(), "setns")
tell(umount=name(umount, "/dev/zero"),
     make=name(os.mknod, "/tmp/berth-test-node", 0o600 | stat.S_IFCHR, os.makedev(1, 5)),
     through_init=name(os.stat, "/proc/1/root/dev/zero"),
     setns=name(enter_namespace_of_init),
     capabilities=capabilities(), uid=os.getuid())
""",
        *OTHERS,
        drop_capabilities=DROPPED,
    )

    assert seen["uid"] == 0
    assert seen["umount"] == "EPERM"
    assert seen["make"] == "EPERM"
    assert seen["through_init"] == "EACCES"
    assert seen["setns"] in {"EPERM", "EACCES"}
    for sets in ("CapEff", "CapPrm", "CapBnd", "CapInh"):
        assert not any(seen["capabilities"][sets] >> number & 1 for number in DROPPED)
    # What a job may well need stays: changing owners, binding low ports, signals.
    assert seen["capabilities"]["CapEff"] & 1


def test_inherited_capabilities_are_dropped_too(fenced, as_root):
    """A capability that could come back through the inheritable set at the exec does not."""
    seen = fenced("tell(capabilities=capabilities())", *OTHERS, drop_capabilities=tuple(range(41)))

    assert seen["capabilities"]["CapEff"] == 0
    assert seen["capabilities"]["CapInh"] == 0


def test_a_job_of_another_user(fenced, as_root):
    """A job that runs as its own user keeps the covers and cannot take them off."""
    seen = fenced(
        """
tell(umount=name(umount, "/dev/zero"), zero=covered("/dev/zero"),
     through_init=name(os.stat, "/proc/1/root/dev/zero"),
     effective=capabilities()["CapEff"])
""",
        *OTHERS,
        become=(NOBODY, NOBODY, [NOBODY, 100]),
    )

    assert seen["umount"] == "EPERM"
    assert seen["through_init"] == "EACCES"
    assert seen["zero"] is True
    assert seen["effective"] == 0


def test_without_privileges(fenced, other_user):
    """An ordinary user's worker covers devices too, and the job is still that user."""
    seen = fenced(
        """
nested = subprocess.run(["unshare", "-U", "-r", "-m", "umount", "/dev/zero"],
                        capture_output=True).returncode
tell(zero=covered("/dev/zero"), other=covered("/dev/urandom"), uid=os.getuid(),
     gid=os.getgid(), effective=capabilities()["CapEff"], umount=name(umount, "/dev/zero"),
     nested=nested)
""",
        *OTHERS,
        user_namespace=True,
        user=other_user,
    )

    uid = os.getuid() if other_user is None else other_user
    gid = os.getgid() if other_user is None else other_user
    assert (seen["zero"], seen["other"]) == (True, False)
    assert (seen["uid"], seen["gid"]) == (uid, gid)
    assert seen["effective"] == 0
    assert seen["umount"] == "EPERM"
    # In a namespace inside ours the covers are locked.
    assert seen["nested"] != 0


def test_nothing_to_cover_changes_nothing(fenced):
    """Without masks there is no namespace and no capability is lost: any user may do it."""
    seen = fenced(
        'tell(namespace=os.readlink("/proc/self/ns/mnt"), bounding=capabilities()["CapBnd"])',
        drop_capabilities=DROPPED,
    )

    assert seen["namespace"] == str(Path("/proc/self/ns/mnt").readlink())
    status = Path("/proc/self/status").read_text()
    bounding = next(line for line in status.splitlines() if line.startswith("CapBnd"))
    assert seen["bounding"] == int(bounding.split()[1], 16)


def test_a_device_that_is_gone_is_passed_over(fenced, as_root):
    """A node that has vanished since the masks were chosen does not stop the job."""
    seen = fenced('tell(zero=covered("/dev/zero"))', "/dev/nvidia-no-such", "/dev/zero")

    assert seen["zero"] is True


# Run in a mount namespace whose mounts are shared, as systemd leaves a box's.
BOX = """
import json, subprocess, sys
start, order, program, point = sys.argv[1:]
job = subprocess.Popen([sys.executable, "-I", "-S", "-c", start, order, program],
                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
assert job.stdout.readline() == "ready\\n"
subprocess.run(["mount", "-t", "tmpfs", "berth-test", point], check=True)
print(job.communicate("go\\n")[0], end="")
"""


def test_mounts_of_the_box_still_arrive(fenced, as_root, open_folder):
    """A file system mounted later (an automounted home) appears in a job that runs already."""
    home = open_folder / "home"
    home.mkdir()
    wrapper = ["unshare", "-m", "--propagation", "shared", sys.executable, "-c", BOX]

    seen = fenced(
        f"""
print("ready", flush=True)
input()
tell(home=os.path.ismount("{home}"))
""",
        "/dev/zero",
        wrapper=(wrapper, str(home)),
    )

    assert seen["home"] is True
    assert not home.is_mount()


def test_refusals_are_sentences(fenced, as_root):
    """An impossible fence is reported in one sentence with the reason."""
    seen = fenced(
        f"""
import runpy
try:
    runpy.run_path({str(APPLY)!r})["enter"](["/dev/zero"])
except OSError as error:
    tell(sentence=error.strerror)
""",
        "/dev/zero",
        drop_capabilities=(21,),
    )

    assert seen["sentence"] == (
        "The fence cannot be put up: a mount namespace of its own is refused "
        "(Operation not permitted)."
    )


def test_it_needs_nothing_but_an_old_python():
    """The file that runs in the shim parses as Python 3.8 and imports the standard library only."""
    tree = ast.parse(APPLY.read_text(), feature_version=(3, 8))

    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= set(sys.stdlib_module_names)
    assert not any(name.startswith("berth") for name in imported)


def test_the_probe_knows_what_works(fenced):
    """The fence does what the probe reports as possible."""
    fence = probe()
    if not fence.can_mask:
        pytest.skip(f"no fence on this box: {fence.sentence}")

    seen = fenced(
        'tell(zero=covered("/dev/zero"))',
        "/dev/zero",
        user_namespace=fence.user_namespace,
        drop_capabilities=fence.drop_capabilities,
    )

    assert seen["zero"] is True
