"""Settings: where they come from, and what is said of wrong ones."""

from __future__ import annotations

import sqlite3
from dataclasses import fields
from datetime import time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import structlog

from berth_server import backup, settings, settings_list
from berth_server.core.settings import CalendarRule, Limits, PolicySettings
from berth_server.settings import SettingsError

RULE = '[[policy.calendar]]\nstarts = "22:00"\nlimits = {}'


def policy_of(home: Path) -> PolicySettings:
    return settings.load(home).policy


def policy_from(home: Path, toml: str) -> PolicySettings:
    """Of a berth.toml with this policy."""
    (home / "berth.toml").write_text(f"[policy]\n{toml}")
    return policy_of(home)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in settings.Settings.model_fields:
        monkeypatch.delenv(f"BERTH_{name.upper()}", raising=False)


def origins(chosen, home) -> dict[str, str]:
    return {one.name: one.origin for one in settings_list.show(chosen, home).settings}


def test_defaults_are_what_the_documentation_says(tmp_path):
    """Local TCP, a socket for all users, no jobs of others."""
    chosen = settings.load(tmp_path)
    assert (chosen.listen, chosen.socket_mode) == ("127.0.0.1:8787", "0666")
    assert chosen.port_range == (29600, 29999)
    assert not chosen.allow_other_users
    assert set(origins(chosen, tmp_path).values()) == {"default"}


def test_the_environment_stands_over_the_file(tmp_path, monkeypatch):
    """And each value tells where it comes from."""
    (tmp_path / "berth.toml").write_text('listen = "127.0.0.1:1"\nlog_level = "debug"\n')
    monkeypatch.setenv("BERTH_LISTEN", "127.0.0.1:2")
    chosen = settings.load(tmp_path)
    assert (chosen.listen, chosen.log_level) == ("127.0.0.1:2", "debug")
    found = origins(chosen, tmp_path)
    assert (found["listen"], found["log_level"], found["ports"]) == (
        "environment",
        "berth.toml",
        "default",
    )


def test_the_server_table_and_plain_keys_are_the_same(tmp_path):
    """Tables of other parts are left alone."""
    (tmp_path / "berth.toml").write_text(
        'gpus = "sim:8"\n[server]\nlisten = "off"\n[worker]\nanything = 1\n[policy]\nfair_share_weight = 2\n'
    )
    chosen = settings.load(tmp_path)
    assert chosen.listen == "off"
    assert policy_of(tmp_path).fair_share_weight == 2


def test_a_setting_of_an_earlier_version_is_ignored(tmp_path):
    """A file that worked goes on working, and one sentence says what to remove."""
    (tmp_path / "berth.toml").write_text(
        "[policy]\nforecast_depth = 7\nfit_weight = 1.5\nfair_share_weight = 2\n"
    )
    assert policy_of(tmp_path).fair_share_weight == 2
    assert "policy.forecast_depth" not in origins(settings.load(tmp_path), tmp_path)
    with structlog.testing.capture_logs() as logged:
        settings.read(tmp_path / "berth.toml")
    (line,) = logged
    assert line["event"] == (
        "policy.fit_weight, policy.forecast_depth are no longer used; remove them from "
        f"{tmp_path / 'berth.toml'} (docs/scheduling.md has the rest)."
    )


def test_lengths_of_the_policy_read_as_users_write_them(tmp_path):
    """Like 12h."""
    (tmp_path / "berth.toml").write_text('[policy]\nassumed_length = "12h"\n')
    assert policy_of(tmp_path).assumed_length == timedelta(hours=12)


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("listen = ", ("berth.toml", "not valid TOML")),
        ('lisen = "x:1"', ("lisen", "listen")),
        ('listen = "nowhere"', ("listen", "127.0.0.1:8787")),
        ('listen = "a:99999"', ("listen", "127.0.0.1:8787")),
        ('ports = "90-10"', ("ports", "1024-65535")),
        ('ports = "all"', ("ports",)),
        ("allow_other_users = 7", ("allow_other_users",)),
        ('socket_mode = "rw"', ("socket_mode",)),
        ('log_level = "loud"', ("log_level", "debug")),
        ("session_days = 0", ("session_days",)),
        ('executor = "lsf"', ("executor", "lsf", "'local'")),
        ("[policy]\nage_ca = 1", ("age_ca", "age_cap")),
        ('[policy]\nassumed_length = "soon"', ("assumed_length", "12h")),
    ],
)
def test_a_wrong_setting_is_one_sentence_that_names_it(tmp_path, toml, words):
    """With what is allowed, or the nearest name."""
    (tmp_path / "berth.toml").write_text(toml)
    with pytest.raises(SettingsError) as caught:
        policy_of(tmp_path)
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def test_a_wrong_variable_is_named_as_such(tmp_path, monkeypatch):
    """So that it is not looked for in the file."""
    monkeypatch.setenv("BERTH_LISTEN", "nowhere")
    with pytest.raises(SettingsError, match=r"\$BERTH_LISTEN"):
        settings.load(tmp_path)


def test_every_setting_is_documented():
    """docs/operations.md tells name, variable and default."""
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    for name in settings.Settings.model_fields:
        if name != "policy":
            assert f"| `{name}` | `BERTH_{name.upper()}` |" in text, name


def test_a_backup_is_a_whole_database_while_the_server_works(tmp_path, monkeypatch, open_desk):
    """Readable by no other user, and never over an existing file."""
    with open_desk(tmp_path) as desk:
        desk.submit(hold=True)
        monkeypatch.setenv("BERTH_HOME", str(tmp_path))
        target = tmp_path / "copy.db"
        assert backup.main([str(target)]) == 0
        assert sqlite3.connect(target).execute("SELECT count(*) FROM jobs").fetchone() == (1,)
        assert target.stat().st_mode & 0o077 == 0
        assert backup.main([str(target)]) == 2
        assert backup.main([]) == 2


def test_policy_tables_may_be_nested(tmp_path):
    """Lists of tables, maps, times, zones, weekdays by name; "none" where nothing may stand."""
    toml = """
        age_cap = "90m"
        fair_share_weight = 2
        backfill_quantile = "none"
        zone = "Europe/Berlin"
        shares = { ada = 2.0, bob = 1 }
        limits_by_user = { ada = { gpu_hours = "none", running_jobs = 3 } }
        [[policy.calendar]]
        name = "weekend"
        weekdays = ["saturday", 6]
        starts = "22:00"
        ends = 07:30:00
        limits = { running_gpus = 4 }
        """
    assert policy_from(tmp_path, toml) == PolicySettings(
        age_cap=timedelta(minutes=90),
        fair_share_weight=2.0,
        backfill_quantile=None,
        zone=ZoneInfo("Europe/Berlin"),
        shares={"ada": 2.0, "bob": 1.0},
        limits_by_user={"ada": Limits(running_jobs=3)},
        calendar=(
            CalendarRule(
                name="weekend",
                weekdays=frozenset({5, 6}),
                starts=time(22),
                ends=time(7, 30),
                limits=Limits(running_gpus=4),
            ),
        ),
    )


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ('age_cap = "soon"', ("policy.age_cap", "12h")),
        ('age_cap = "0s"', ("policy.age_cap", "longer than 0")),
        ("fair_share_weight = true", ("policy.fair_share_weight", "number")),
        ("user_limits = { running_jobs = 1.5 }", ("user_limits.running_jobs", "whole number")),
        ('zone = "Moon/Crater"', ("zone", "Europe/Berlin")),
        ("zone = 3", ("zone", "Europe/Berlin")),
        ("shares = 3", ("shares", "table")),
        ("user_limits = 3", ("user_limits", "table")),
        ('shares = { ada = "much" }', ("shares.ada", "number")),
        ("calendar = 3", ("calendar", "list")),
        ("shadow_quantile = 2", ("shadow_quantile", "from 0 to 1")),
        ('[[policy.calendar]]\nname = "nights"', ("calendar[0]", "weekdays")),
        (f'{RULE}\nweekdays = ["someday"]', ("weekdays", "whole number")),
        (f"{RULE}\nweekdays = []\nname = 3", ("calendar[0].name", "text")),
        (f'{RULE}\nweekdays = []\nname = ""\nends = "late"', ("ends", "22:00")),
        (f"{RULE}\nweekdays = []\nuser = 3", ("user", "'users'")),
        ("limits_by_user = { ada = { runing_gpus = 3 } }", ("ada", "'running_gpus'")),
    ],
)
def test_a_wrong_policy_value_names_its_place(tmp_path, toml, words):
    """And what belongs there."""
    with pytest.raises(SettingsError) as caught:
        policy_from(tmp_path, toml)
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def test_the_example_of_limits_in_the_documentation_is_read_as_it_says(tmp_path):
    """docs/operations.md shows what works."""
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    (block,) = (part for part in text.split("```toml\n") if part.startswith("[policy.user_limits]"))
    (tmp_path / "berth.toml").write_text(block.split("```")[0])
    policy = policy_of(tmp_path)
    assert policy.user_limits.gpu_hours == 500
    assert policy.limits_by_user["ada"].running_gpus == 8
    (night,) = policy.calendar
    assert (night.starts, night.weekdays) == (time(22), frozenset(range(5)))


def test_each_setting_of_the_policy_is_listed(tmp_path):
    """Values of the file and defaults, each with its origin and its meaning, readable as written."""
    toml = 'age_cap = "30d"\nbackfill_quantile = "none"\n[policy.user_limits]\nrunning_gpus = 4\n'
    policy_from(tmp_path, toml)
    shown = settings_list.show(settings.load(tmp_path), tmp_path).settings
    listed = {one.name: one for one in shown if one.name.startswith("policy.")}
    assert len(listed) == len(fields(PolicySettings))
    assert (listed["policy.age_cap"].value, listed["policy.age_cap"].origin) == (
        "30d",
        "berth.toml",
    )
    assert listed["policy.backfill_quantile"].value is None
    assert listed["policy.user_limits"].value == "running_gpus=4"
    assert (listed["policy.shares"].value, listed["policy.shares"].origin) == (None, "default")
    assert "waited longer is served before" in listed["policy.age_cap"].description
