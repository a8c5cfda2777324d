"""The verbs that look at the box: gpus with its drains, status."""

from __future__ import annotations

import json

import pytest

JOBS = "/api/v1/jobs"
DASH = "\N{EN DASH}"


@pytest.fixture
def box(fake, wire):
    """A box with a job, an outsider, a drained and a free GPU."""
    job = {
        "kind": "job",
        "job_id": 42,
        "job_name": "persona",
        "user": "ada",
        "until": wire.time(7200),
        "sentence": "job 42",
    }
    outsider = {
        "kind": "outsider",
        "user": "bob",
        "sentence": "external process: pid 4242 of bob (python train.py), 31.2 GiB",
    }
    gpus = [
        wire.gpu(0, holder=job, memory_used_bytes=60 << 30, utilization_percent=98),
        wire.gpu(1, holder=outsider),
        wire.gpu(2, draining=True, drain_reason="fan"),
        wire.gpu(3, utilization_percent=None, temperature_c=None, power_w=None),
    ]  # fmt: skip
    facts = {
        "hostname": "lab",
        "taken_at": wire.time(0),
        "source": "nvml",
        "driver_version": "575.57",
        "fence": "namespace",
        "gpus": gpus,
        "sentence": "1 of 4 GPUs free.",
    }
    fake.answer("GET", "/api/v1/gpus", facts)
    fake.answer("GET", f"{JOBS}/counts", {"counts": {"running": 1, "queued": 2}})
    return facts


class TestGpus:
    def test_nodes_of_a_cluster_are_told_apart(self, box, berth, wire):
        """GPUs of one node that no job holds and that are alike share a row."""
        job = box["gpus"][0]["holder"]
        use = {"memory_used_bytes": None, "power_w": None, "utilization_percent": None}
        box["gpus"] = [
            wire.gpu(
                i,
                node=f"n{i // 4 + 1}",
                node_index=i % 4,
                **use,
                **({"holder": job} if i < 2 else {}),
            )
            for i in range(8)
        ]
        lines = berth("gpus").output.splitlines()[2:6]
        assert [line.split()[:2] for line in lines] == [
            ["n1:0", "0"], ["n1:1", "1"], [f"n1:2{DASH}3", f"2{DASH}3"], [f"n2:0{DASH}3", f"4{DASH}7"],
        ]  # fmt: skip
        assert "-/80 GiB" in lines[3]

    def test_an_external_process_on_a_leased_gpu_has_a_line(self, box, berth):
        """With its memory, which would otherwise read as the job's."""
        box["gpus"][0]["beside"] = [
            {
                "kind": "outsider",
                "user": "eve",
                "pids": [77],
                "memory_used_bytes": 31 << 30,
                "sentence": "external process: pid 77 of eve (python other.py), 31.0 GiB",
            }
        ]
        lines = berth("gpus").output.splitlines()

        assert "job 42 persona (ada)" in lines[2]
        assert "pid 77 of eve (python other.py)" in lines[3]
        assert "31 GiB" in lines[3]

    def test_the_map_names_every_holder(self, box, berth):
        """Jobs with user and time left, outsiders by pid and command, drains with the reason."""
        lines = berth("gpus").output.splitlines()

        assert lines[0] == "1 of 4 GPUs free."
        assert "job 42 persona (ada)" in lines[2]
        assert ("60/80 GiB" in lines[2], "98%" in lines[2]) == (True, True)
        assert "pid 4242 of bob (python train.py)" in lines[3]
        assert "draining: fan" in lines[4]
        assert "free" in lines[5]
        assert "fence: namespace" in lines[-1]

    def test_a_worker_that_is_silent_is_reported(self, box, berth):
        """An old picture says that it is old."""
        box["stale"] = True
        assert "is not reporting" in berth("gpus").output

    def test_drain_and_undrain(self, fake, wire, berth):
        """Several at once, with the reason."""
        for gpu in (2, 3):
            fake.answer("POST", f"/api/v1/gpus/{gpu}/drain", wire.gpu(gpu, draining=True))
        fake.answer("POST", "/api/v1/gpus/2/undrain", wire.gpu(2))

        assert (
            "GPU 3 accepts no new job."
            in berth("gpus", "drain", "2", "3", "--reason", "fan").output
        )
        assert fake.bodies("/api/v1/gpus/3/drain") == [{"reason": "fan"}]
        assert "GPU 2 accepts jobs again." in berth("gpus", "undrain", "2").output
        assert json.loads(berth("gpus", "--json").stderr)["error"]["exit_code"] == 4


class TestStatus:
    def test_one_screen(self, box, berth):
        """Daemons, GPUs and queue."""
        output = berth("status").output

        assert "server  down" in output
        assert "1 of 4 GPUs free." in output
        assert "1 running, 2 queued" in output

    def test_json(self, box, berth):
        """The same facts for programs."""
        facts = json.loads(berth("status", "--json").stdout)

        assert facts["up"] is True
        assert facts["counts"]["queued"] == 2
