"""`roheletd cluster`, as a person types it: with a daemon, without one, and with a bad token."""

import fcntl
import json
import os
from argparse import ArgumentTypeError
from pathlib import Path

import pytest
from msgspec.structs import replace

from roheletd import identity
from roheletd.api import views
from roheletd.cli.options import duration_s
from roheletd.keys import load_keys
from roheletd.token import Token, encode
from tests.cli import samples
from tests.cli.conftest import Run
from tests.cli.fake_daemon import FakeDaemon, on_tcp

TOKEN = Token(
    cluster="garage",
    cluster_id="0123456789abcdef",
    epoch=1,
    key=bytes(range(32)),
    brokers=("mqtt://192.168.1.7:9471",),
)
TEXT = encode(TOKEN)
OTHER = encode(replace(TOKEN, cluster="barn", cluster_id="fedcba9876543210"))
JOINING = views.Changes(changed={"garage": "joining"})
ALONE = samples.CLUSTER_ALONE
WAITS = replace(samples.CLUSTER_REFUSED, membership="joining", reason="no broker answers")


def refused(reason: str) -> tuple[int, views.Problem]:
    return 409, views.Problem(error="refused", reason=reason)


class TestToken:
    def test_only_the_token_is_on_standard_output(self, daemon: FakeDaemon, roheletd: Run) -> None:
        daemon.answers["POST /api/v1/cluster/token"] = views.TokenMade(token=TEXT, expires_at_s=9)
        done = roheletd("cluster", "token", "--valid-for", "30min")
        assert done.stdout == f"{TEXT}\n"
        assert "good for 30 min; it holds the cluster's key" in done.stderr
        assert daemon.requests[0].body == {"valid_for_s": 1800}

    def test_a_token_is_good_for_a_day_unless_it_is_said(
        self, daemon: FakeDaemon, roheletd: Run
    ) -> None:
        made = views.TokenMade(token=TEXT, expires_at_s=9)
        daemon.answers["POST /api/v1/cluster/token"] = made
        done = roheletd("cluster", "token", "-o", "json")
        assert json.loads(done.stdout) == {"token": TEXT, "expires_at_s": 9}
        assert daemon.requests[0].body == {"valid_for_s": 86_400}
        assert "good for ever" in roheletd("cluster", "token", "--valid-for", "0").stderr

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("0", 0), ("90", 90), ("90s", 90), ("5m", 300), ("30min", 1800), ("24H", 86_400)],
    )
    def test_a_time_is_given_with_its_unit(self, text: str, seconds: int) -> None:
        assert duration_s(text) == seconds

    @pytest.mark.parametrize("text", ["", "h", "-1h", "1.5h", "1w", "1h30m", "9999999d", "x" * 90])
    def test_what_is_no_time_is_refused_in_one_line(self, text: str) -> None:
        with pytest.raises(ArgumentTypeError, match="expected a time such as 30min, 24h or 7d"):
            duration_s(text)


class TestInit:
    def test_before_the_first_start_it_founds_the_cluster(
        self, roheletd: Run, tmp_path: Path
    ) -> None:
        done = roheletd("cluster", "init", "--name", "garage")
        assert (done.returncode, done.stdout) == (0, "garage  founded\n")
        assert "start it" in done.stderr
        assert "`roheletd cluster token`" in done.stderr
        found = identity.load(tmp_path)
        assert found is not None
        assert (found.cluster, found.shared, found.founded) == ("garage", True, True)
        assert roheletd("cluster", "init").returncode == 0

    def test_the_configuration_says_the_names(self, roheletd: Run, tmp_path: Path) -> None:
        conf = tmp_path / "roheletd.yaml"
        conf.write_text("node: {name: pi7}\ncluster: {name: barn}\n")
        done = roheletd("cluster", "init", "--config", str(conf), "-o", "json")
        assert json.loads(done.stdout)["changed"] == {"barn": "founded"}
        found = identity.load(tmp_path)
        assert found is not None
        assert found.node == "pi7"

    @pytest.mark.parametrize("name", ["", "a b", "x" * 64, "ü"])
    def test_a_bad_name_is_refused_before_anything_is_written(
        self, name: str, roheletd: Run, tmp_path: Path
    ) -> None:
        done = roheletd("cluster", "init", "--name", name)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "expected a name of letters" in done.stderr
        assert not (tmp_path / "cluster.json").exists()

    def test_a_running_daemon_is_asked(self, daemon: FakeDaemon, roheletd: Run) -> None:
        daemon.answers["POST /api/v1/cluster"] = views.Changes(changed={"edge": "shared"})
        done = roheletd("cluster", "init")
        assert (done.returncode, done.stdout) == (0, "edge  shared\n")
        assert daemon.requests[0].body == {"name": None}

    def test_a_directory_that_a_daemon_holds_is_left_alone(
        self, roheletd: Run, tmp_path: Path
    ) -> None:
        lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = roheletd("cluster", "init")
        os.close(lock)
        assert done.returncode == 1
        assert "in use by another roheletd" in done.stderr
        assert not (tmp_path / "cluster.json").exists()


class TestJoin:
    def test_it_waits_until_the_node_was_let_in(self, daemon: FakeDaemon, roheletd: Run) -> None:
        daemon.answers["POST /api/v1/cluster/join"] = JOINING
        daemon.answers["GET /api/v1/cluster"] = [ALONE, WAITS, samples.CLUSTER]
        done = roheletd("cluster", "join", TEXT)
        assert (done.returncode, done.stdout) == (0, "garage  joined\n")
        assert daemon.requests[0].body == {"token": TEXT, "force": False}
        assert "waiting to be let into cluster garage: no broker answers" in done.stderr

    def test_the_token_may_come_on_standard_input(self, daemon: FakeDaemon, roheletd: Run) -> None:
        daemon.answers["POST /api/v1/cluster/join"] = JOINING
        done = roheletd("cluster", "join", "-", "--force", "--wait", "0", text=f"{TEXT}\n")
        assert (done.returncode, done.stdout) == (0, "garage  joining\n")
        assert daemon.requests[0].body == {"token": TEXT, "force": True}
        assert len(daemon.requests) == 1

    def test_a_daemon_that_starts_anew_meanwhile_is_waited_for(
        self, daemon: FakeDaemon, roheletd: Run
    ) -> None:
        daemon.answers["POST /api/v1/cluster/join"] = JOINING
        daemon.answers["GET /api/v1/cluster"] = [b"half an ans", samples.CLUSTER]
        assert roheletd("cluster", "join", TEXT).returncode == 0

    @pytest.mark.parametrize(
        "reason",
        [
            "the token has expired: ask for a new one",
            "the name pi2 is taken by a node that is alive: choose another node.name",
            "this node speaks protocol 2 and the cluster 1: update the cluster",
        ],
    )
    def test_a_node_that_is_not_let_in_says_why_in_one_line(
        self, reason: str, daemon: FakeDaemon, roheletd: Run
    ) -> None:
        daemon.answers["POST /api/v1/cluster/join"] = JOINING
        told = replace(samples.CLUSTER_REFUSED, reason=reason)
        daemon.answers["GET /api/v1/cluster"] = told
        done = roheletd("cluster", "join", TEXT)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"roheletd: cluster garage does not let this node in: {reason}\n"

    def test_a_leader_that_does_not_answer_is_not_waited_for_longer_than_asked(
        self, daemon: FakeDaemon, roheletd: Run
    ) -> None:
        daemon.answers["POST /api/v1/cluster/join"] = JOINING
        daemon.answers["GET /api/v1/cluster"] = WAITS
        done = roheletd("cluster", "join", TEXT, "--wait", "0.2")
        assert done.returncode == 1
        assert "not a member of cluster garage after 0.2 s, and the daemon goes on" in done.stderr
        assert "no broker answers" in done.stderr

    def test_a_refusal_of_the_daemon_is_one_line(self, daemon: FakeDaemon, roheletd: Run) -> None:
        daemon.answers["POST /api/v1/cluster/join"] = refused(
            "this node is a member of another cluster, barn"
        )
        done = roheletd("cluster", "join", TEXT)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == "roheletd: refused: this node is a member of another cluster, barn\n"

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (TEXT[:-20], "it was cut short or altered"),
            (TEXT.replace("rohe1", "rohe2"), "token format 2, this one reads 1"),
            ("barn", "expected what `roheletd cluster token` prints"),
            ("x" * 9000, "expected at most 8192 characters, got 9000"),
        ],
    )
    def test_a_bad_token_is_refused_here_and_not_repeated(
        self, text: str, said: str, daemon: FakeDaemon, roheletd: Run
    ) -> None:
        done = roheletd("cluster", "join", text)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert said in done.stderr
        assert text[6:30] not in done.stderr or len(text) < 10
        assert not daemon.requests

    def test_without_a_daemon_the_next_start_joins(self, roheletd: Run, tmp_path: Path) -> None:
        done = roheletd("cluster", "join", TEXT)
        assert (done.returncode, done.stdout) == (0, "garage  joining\n")
        assert "its next start joins cluster garage as" in done.stderr
        found = identity.load(tmp_path)
        assert found is not None
        assert (found.cluster_id, found.joined) == (TOKEN.cluster_id, False)
        assert load_keys(tmp_path, None).cluster == TOKEN.key

    def test_without_a_daemon_a_log_is_not_given_up_unseen(
        self, roheletd: Run, tmp_path: Path
    ) -> None:
        (tmp_path / "log.db").write_text("mine")
        done = roheletd("cluster", "join", TEXT)
        assert done.returncode == 1
        assert "start it and ask again, or --force" in done.stderr
        assert roheletd("cluster", "join", TEXT, "--force").returncode == 0
        assert (tmp_path / "log.db.old").read_text() == "mine"

    def test_without_a_daemon_a_member_of_another_cluster_says_which(
        self, roheletd: Run, tmp_path: Path
    ) -> None:
        identity.join(tmp_path, TOKEN, node="pi2")
        identity.admitted(tmp_path)
        done = roheletd("cluster", "join", OTHER)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
        assert "a member of another cluster, garage" in done.stderr


class TestTheRest:
    def test_leaving_is_said_to_the_daemon(self, daemon: FakeDaemon, roheletd: Run) -> None:
        daemon.answers["POST /api/v1/cluster/leave"] = views.Changes(changed={"garage": "left"})
        done = roheletd("cluster", "leave")
        assert (done.returncode, done.stdout) == (0, "garage  left\n")

    def test_a_node_is_removed_by_its_name(self, daemon: FakeDaemon, roheletd: Run) -> None:
        removed = views.Changes(changed={"pi3": "removed"})
        daemon.answers["DELETE /api/v1/cluster/members/pi3"] = removed
        daemon.answers["DELETE /api/v1/cluster/members/pi1"] = refused("node pi1 is alive")
        assert roheletd("cluster", "remove", "pi3").stdout == "pi3  removed\n"
        done = roheletd("cluster", "remove", "pi1")
        assert (done.returncode, done.stderr) == (1, "roheletd: refused: node pi1 is alive\n")

    def test_recovering_says_first_what_would_be_lost_and_does_nothing(
        self, daemon: FakeDaemon, roheletd: Run
    ) -> None:
        daemon.answers["GET /api/v1/cluster"] = samples.CLUSTER_UNWELL
        done = roheletd("cluster", "recover")
        assert (done.returncode, done.stdout) == (1, "")
        assert "epoch number 3" in done.stderr
        assert "has not reached this node is lost" in done.stderr
        assert "last heard 12 min 34 s ago" in done.stderr
        assert [request.method for request in daemon.requests] == ["GET"]

    def test_recovering_by_force_says_what_the_others_do_next(
        self, daemon: FakeDaemon, roheletd: Run
    ) -> None:
        changes = views.Changes(changed={"garage": "recovered in epoch 3"})
        daemon.answers["POST /api/v1/cluster/recover"] = changes
        done = roheletd("cluster", "recover", "--force")
        assert (done.returncode, done.stdout) == (0, "garage  recovered in epoch 3\n")
        assert daemon.requests[0].body == {"force": True}
        assert "the other nodes join anew" in done.stderr

    @pytest.mark.parametrize("verb", ["token", "leave", "recover", "status"])
    def test_what_needs_a_daemon_says_so_with_exit_3(
        self, verb: str, roheletd: Run, tmp_path: Path
    ) -> None:
        done = roheletd("cluster", verb)
        assert (done.returncode, done.stdout) == (3, "")
        assert "no daemon:" in done.stderr
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("command", [["init"], ["join", TEXT]])
    def test_a_daemon_elsewhere_that_is_gone_changes_nothing_here(
        self, command: list[str], roheletd: Run, tmp_path: Path
    ) -> None:
        with on_tcp() as gone:
            url = gone.address
        done = roheletd("cluster", *command, "--url", url)
        assert done.returncode == 3
        assert not (tmp_path / "cluster.json").exists()

    def test_a_command_about_a_secret_is_not_signed(self, roheletd: Run) -> None:
        done = roheletd("sign", "cluster-token")
        assert done.returncode == 1
        assert "COMMAND: expected one of" in done.stderr
