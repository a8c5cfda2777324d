"""The meter of what jobs use of their GPUs, the receipt of a job, the report of a month."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from berth.protocol.gpus import GpuProcess
from berth_server.background.webhooks import notice
from berth_server.service.auth.callers import Caller
from berth_server.service.errors import Invalid
from berth_server.service.gpus.use import Rates, UseMeter
from berth_server.service.jobs.show import show_job
from berth_server.service.scheduling.usage_report import usage_report
from berth_server.store import jobs

GIB = 1 << 30
RATES = Rates(per_gpu_hour=1.0, per_kwh=0.5, co2_g_per_kwh=400.0, currency="EUR")


def pass_time(desk, seconds: int) -> None:
    """A second at a time, with a look of the worker after each."""
    for _ in range(seconds):
        desk.clock.now += 1
        desk.worker.tell()


def usage(desk, job_id: int):
    record = jobs.get(desk.server.db.read, job_id)
    assert record is not None
    return show_job(desk.server, record).usage


@pytest.fixture
def priced(desk):
    """A desk where GPU time costs something."""
    desk.server.options = replace(desk.server.options, rates=RATES)
    desk.worker.tell()
    return desk


def test_a_job_that_worked_half_of_its_time(priced):
    """Mean utilisation, idle share, energy, cost and CO2 of all its GPUs."""
    job_id = priced.submit(gpus=2)
    priced.worker.running("1.1")
    priced.worker.loads = {0: 90, 1: 90}
    priced.worker.processes[0] = [GpuProcess(pid=9, attempt="1.1", memory_bytes=61 * GIB)]
    pass_time(priced, 60)
    priced.worker.loads = {0: 0, 1: 0}
    priced.worker.processes[0] = [GpuProcess(pid=9, attempt="1.1", memory_bytes=2 * GIB)]
    pass_time(priced, 60)
    priced.worker.ended("1.1")
    found = usage(priced, job_id)
    assert found.gpu_hours == pytest.approx(240 / 3600, abs=1e-5)
    assert (found.utilization_percent, found.idle_percent) == (45.0, 50.0)
    assert found.peak_memory_bytes == 61 * GIB
    assert found.energy_kwh == pytest.approx(240 * 300 / 3.6e6)
    assert found.cost == pytest.approx(240 / 3600 + 0.5 * 240 * 300 / 3.6e6, abs=1e-4)
    assert (found.currency, found.seen_fraction) == ("EUR", 1.0)
    assert found.co2_g == pytest.approx(400 * 240 * 300 / 3.6e6)


def test_it_grows_while_the_job_runs_and_outlives_a_restart(priced):
    """What the database has is at most a minute old; nothing is counted twice."""
    job_id = priced.submit(gpus=1)
    priced.worker.running("1.1")
    priced.worker.loads = {0: 50}
    pass_time(priced, 30)
    assert usage(priced, job_id).energy_kwh == pytest.approx(30 * 300 / 3.6e6, abs=1e-6)
    with priced.server.db.write(now=priced.clock.now, actor="system") as tx:
        priced.server.use.keep(tx)
    priced.server.use = UseMeter(priced.server.db.read)
    priced.clock.now += 30  # the server was away: that time is not made up
    pass_time(priced, 30)
    priced.worker.ended("1.1")
    found = usage(priced, job_id)
    assert found.energy_kwh == pytest.approx(59 * 300 / 3.6e6, abs=1e-5)
    assert found.gpu_hours == pytest.approx(90 / 3600, abs=1e-5)
    assert found.seen_fraction == pytest.approx(59 / 90, abs=0.01)


def test_a_share_counts_as_its_part(priced):
    """A quarter of a GPU has a quarter of its hours and of its energy."""
    job_id = priced.submit(share=True, gpu_memory=20 * GIB)
    priced.worker.running("1.1")
    priced.worker.loads = {0: 80}
    pass_time(priced, 40)
    priced.worker.ended("1.1")
    found = usage(priced, job_id)
    assert found.gpu_hours == pytest.approx(10 / 3600, abs=1e-5)
    assert found.energy_kwh == pytest.approx(10 * 300 / 3.6e6, abs=1e-6)
    assert found.utilization_percent == 80.0


def test_a_job_without_gpus_has_none(priced):
    """And one on GPUs that tell no utilisation has its hours alone."""
    plain = priced.submit(gpus=0)
    silent = priced.submit(gpus=1)
    priced.worker.running("2.1")
    pass_time(priced, 5)
    priced.worker.ended("1.1")
    priced.worker.ended("2.1")
    assert usage(priced, plain) is None
    found = usage(priced, silent)
    assert found.gpu_hours > 0
    assert (found.utilization_percent, found.energy_kwh, found.cost) == (None, None, None)


def test_attempts_add_up(priced):
    """Each has its own, the job has the sum."""
    job_id = priced.submit(gpus=1, retries=1)
    priced.worker.loads = {0: 100, 1: 100}
    for number in (1, 2):
        priced.worker.running(f"1.{number}")
        pass_time(priced, 10)
        priced.worker.ended(f"1.{number}", number % 2)
        priced.clock.now += 60
        priced.worker.tell()
    record = jobs.get(priced.server.db.read, job_id)
    assert record is not None
    shown = show_job(priced.server, record)
    parts = [attempt.usage for attempt in shown.attempts if attempt.usage]
    assert shown.usage is not None
    assert shown.usage.gpu_hours == pytest.approx(sum(p.gpu_hours for p in parts), abs=1e-5)


def test_a_notice_says_what_was_used(priced):
    """Behind the sentence about the end."""
    job_id = priced.submit(gpus=1)
    priced.worker.running("1.1")
    priced.worker.loads = {0: 100}
    pass_time(priced, 36)
    priced.worker.ended("1.1")
    record = jobs.get(priced.server.db.read, job_id)
    assert record is not None
    said = notice(priced.server, record).decode()
    assert (
        "It used 0.01 GPU-hours, 100 % busy, 0 % idle, 0.003 kWh, 0.0012 kg CO2, 0.01 EUR." in said
    )


class TestReport:
    @pytest.fixture
    def month(self, priced):
        """Two users' jobs, one over the end of a month."""
        end = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
        priced.clock.now = end - 100
        priced.worker.tell()
        priced.submit(Caller(70_001, "ada"), gpus=2, labels={"study": "x"})
        priced.submit(Caller(70_002, "bob"), gpus=1)
        priced.worker.loads = dict.fromkeys(range(8), 50)
        priced.worker.running("1.1")
        priced.worker.running("2.1")
        pass_time(priced, 40)
        priced.worker.ended("2.1")
        pass_time(priced, 160)
        priced.worker.ended("1.1")
        return priced

    def test_by_user_with_the_part_within_the_month(self, month):
        """GPU-hours are exact; the rest goes with the time."""
        november = {row.key: row for row in usage_report(month.server, "2026-11", "user").rows}
        december = {row.key: row for row in usage_report(month.server, None, "user").rows}
        assert november["ada"].gpu_hours == pytest.approx(200 / 3600, abs=1e-3)
        assert november["bob"].gpu_hours == pytest.approx(40 / 3600, abs=1e-3)
        assert december.keys() == {"ada"}
        assert december["ada"].gpu_hours == pytest.approx(200 / 3600, abs=1e-3)
        assert november["ada"].energy_kwh == pytest.approx(200 * 300 / 3.6e6, rel=0.02)
        assert november["ada"].utilization_percent == 50.0
        assert november["ada"].jobs == 1

    def test_by_group_and_label(self, month):
        """Jobs without either have a row too."""
        by_label = {r.key for r in usage_report(month.server, "2026-11", "label:study").rows}
        assert by_label == {"x", "(none)"}
        assert len(usage_report(month.server, "2026-11", "group").rows) >= 1
        assert usage_report(month.server, "2025-01", "user").rows == []

    @pytest.mark.parametrize(
        ("when", "by", "word"),
        [
            ("2026-13", "user", "2026-11"),
            ("soon", "user", "2026-11"),
            (None, "colour", "label:KEY"),
            (None, "label:", "label:KEY"),
        ],
    )
    def test_what_cannot_be_read_is_refused(self, month, when, by, word):
        """With what could be written."""
        with pytest.raises(Invalid, match=word):
            usage_report(month.server, when, by)
