"""Which cluster a node belongs to: what is kept on disk, and what is refused before it is lost."""

import sqlite3
import stat
from pathlib import Path

import pytest
from msgspec.structs import replace

from roheletd import identity
from roheletd.errors import InvalidInput, Refused
from roheletd.identity import Identity
from roheletd.keys import load_keys
from roheletd.token import Token

TOKEN = Token(
    cluster="garage",
    cluster_id="0123456789abcdef",
    epoch=2,
    key=bytes(range(32)),
    brokers=("mqtt://192.168.1.7:9471",),
)
OTHER = replace(TOKEN, cluster="barn", cluster_id="fedcba9876543210")


def joined(data_dir: Path, token: Token = TOKEN) -> Identity:
    """A full member of the token's cluster, with a log."""
    identity.join(data_dir, token, node="pi2")
    write_log(data_dir, "of " + token.cluster)
    return identity.admitted(data_dir)


def write_log(data_dir: Path, text: str) -> None:
    """A log in the way of SQLite's write-ahead mode, left as a killed process leaves it."""
    path = data_dir / "log.db"
    path.write_text(text)
    path.with_name("log.db-wal").write_text(f"wal {text}")


class TestStart:
    def test_a_node_that_was_never_in_a_cluster_founds_its_own(self, tmp_path: Path) -> None:
        found = identity.start(tmp_path, cluster=None, node="pi1")
        assert (found.cluster, found.node, found.founded, found.boot) == ("edge", "pi1", True, 1)
        assert not found.shared
        assert not found.joined
        assert identity.load(tmp_path) == found
        assert stat.S_IMODE((tmp_path / "cluster.json").stat().st_mode) == 0o600

    def test_two_directories_never_have_the_same_member(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        one, two = (identity.start(tmp_path / d, cluster=None, node="pi") for d in "ab")
        assert one.member != two.member
        assert one.cluster_id != two.cluster_id

    def test_each_start_has_a_number_of_its_own_and_changes_nothing_else(
        self, tmp_path: Path
    ) -> None:
        first = identity.start(tmp_path, cluster="barn", node="pi1")
        second = identity.start(tmp_path, cluster=None, node="pi1")
        assert second == replace(first, boot=2)

    def test_a_configuration_that_names_another_cluster_is_refused_with_both(
        self, tmp_path: Path
    ) -> None:
        before = joined(tmp_path)
        with pytest.raises(InvalidInput, match=r"cluster\.name: expected garage .*; got barn"):
            identity.start(tmp_path, cluster="barn", node="pi2")
        assert identity.load(tmp_path) == before

    def test_a_member_keeps_its_name(self, tmp_path: Path) -> None:
        joined(tmp_path)
        with pytest.raises(InvalidInput, match=r"node\.name: expected pi2, .* got pi3"):
            identity.start(tmp_path, cluster=None, node="pi3")

    def test_a_node_that_was_not_let_in_may_change_its_name(self, tmp_path: Path) -> None:
        identity.join(tmp_path, TOKEN, node="taken")
        write_log(tmp_path, "empty")
        assert identity.start(tmp_path, cluster=None, node="free").node == "free"

    def test_a_founder_with_a_log_keeps_its_name(self, tmp_path: Path) -> None:
        identity.start(tmp_path, cluster=None, node="pi1")
        write_log(tmp_path, "founded")
        with pytest.raises(InvalidInput, match="got pi9"):
            identity.start(tmp_path, cluster=None, node="pi9")

    @pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"\xff", b'{"cluster": "a b"}'])
    def test_a_damaged_file_is_left_alone_and_says_how_to_go_on(
        self, tmp_path: Path, damage: bytes
    ) -> None:
        (tmp_path / "cluster.json").write_bytes(damage)
        with pytest.raises(InvalidInput, match=r"cluster\.json: .*cluster join --force TOKEN"):
            identity.start(tmp_path, cluster=None, node="pi1")
        assert (tmp_path / "cluster.json").read_bytes() == damage

    def test_a_file_of_a_later_version_names_both_formats(self, tmp_path: Path) -> None:
        known = identity.start(tmp_path, cluster=None, node="pi1")
        identity._save(tmp_path, replace(known, format=2))
        with pytest.raises(InvalidInput, match=r"format 2, this one reads 1"):
            identity.load(tmp_path)


class TestFound:
    def test_a_cluster_may_be_founded_before_the_first_start(self, tmp_path: Path) -> None:
        found = identity.found(tmp_path, cluster="barn", node="pi1")
        assert (found.cluster, found.shared, found.boot) == ("barn", True, 0)
        assert identity.start(tmp_path, cluster=None, node="pi1") == replace(found, boot=1)

    def test_founding_shares_what_was_founded_already(self, tmp_path: Path) -> None:
        before = identity.start(tmp_path, cluster=None, node="pi1")
        assert identity.found(tmp_path, cluster=None, node="pi1") == replace(before, shared=True)

    def test_a_cluster_keeps_its_name(self, tmp_path: Path) -> None:
        identity.start(tmp_path, cluster=None, node="pi1")
        with pytest.raises(Refused, match="belongs to cluster edge already"):
            identity.found(tmp_path, cluster="barn", node="pi1")


class TestJoin:
    def test_a_new_node_has_the_key_and_asks_to_be_let_in(self, tmp_path: Path) -> None:
        found = identity.join(tmp_path, TOKEN, node="pi2")
        assert (found.cluster, found.cluster_id, found.epoch) == ("garage", TOKEN.cluster_id, 2)
        assert (found.joined, found.founded, found.shared) == (False, False, True)
        assert found.brokers == TOKEN.brokers
        assert load_keys(tmp_path, None).cluster == TOKEN.key
        assert identity.load(tmp_path) == found

    def test_a_node_that_only_founded_itself_joins_and_its_log_is_kept_aside(
        self, tmp_path: Path
    ) -> None:
        alone = identity.start(tmp_path, cluster=None, node="pi2")
        write_log(tmp_path, "own")
        identity.admitted(tmp_path)
        found = identity.join(tmp_path, TOKEN, node="pi2", services=0)
        assert found.previous == ""
        assert found.boot == alone.boot
        assert not (tmp_path / "log.db").exists()
        assert not (tmp_path / "log.db-wal").exists()
        assert (tmp_path / "log.db.old").read_text() == "own"
        assert (tmp_path / "log.db.old-wal").read_text() == "wal own"

    def test_one_generation_of_logs_is_kept(self, tmp_path: Path) -> None:
        (tmp_path / "log.db.old-shm").write_text("of an earlier one")
        joined(tmp_path)
        identity.join(tmp_path, OTHER, node="pi2", force=True)
        assert (tmp_path / "log.db.old").read_text() == "of garage"
        assert not (tmp_path / "log.db.old-shm").exists()

    def test_a_log_that_is_kept_aside_can_still_be_opened(self, tmp_path: Path) -> None:
        with sqlite3.connect(tmp_path / "log.db") as open_log:
            open_log.execute("pragma journal_mode=wal")
            open_log.execute("create table t (x)")
            open_log.execute("insert into t values (7)")
            open_log.commit()
            identity.join(tmp_path, TOKEN, node="pi2", force=True)
        open_log.close()
        kept = sqlite3.connect(tmp_path / "log.db.old")
        assert kept.execute("select x from t").fetchall() == [(7,)]
        kept.close()

    def test_what_was_cut_off_between_two_files_is_completed_by_joining_again(
        self, tmp_path: Path
    ) -> None:
        write_log(tmp_path, "own")
        (tmp_path / "log.db").replace(tmp_path / "log.db.old")
        identity.join(tmp_path, TOKEN, node="pi2", force=True)
        assert (tmp_path / "log.db.old").read_text() == "own"
        assert (tmp_path / "log.db.old-wal").read_text() == "wal own"

    @pytest.mark.parametrize(
        ("services", "said"),
        [(1, "has 1 service in"), (3, "has 3 services in"), (None, "only by its daemon")],
    )
    def test_a_node_with_services_of_its_own_refuses(
        self, tmp_path: Path, services: int | None, said: str
    ) -> None:
        before = identity.start(tmp_path, cluster=None, node="pi2")
        write_log(tmp_path, "own")
        with pytest.raises(Refused, match=said):
            identity.join(tmp_path, TOKEN, node="pi2", services=services)
        assert identity.load(tmp_path) == before
        assert (tmp_path / "log.db").exists()
        assert identity.join(tmp_path, TOKEN, node="pi2", services=services, force=True)

    def test_a_member_of_another_cluster_says_which(self, tmp_path: Path) -> None:
        joined(tmp_path)
        with pytest.raises(Refused, match=r"another cluster, garage .*the token is of barn"):
            identity.join(tmp_path, OTHER, node="pi2")
        assert identity.join(tmp_path, OTHER, node="pi2", force=True).previous == ""

    def test_the_founder_of_a_shared_cluster_does_not_give_it_up_by_accident(
        self, tmp_path: Path
    ) -> None:
        identity.found(tmp_path, cluster="barn", node="pi1")
        identity.join(tmp_path, TOKEN, node="pi1")  # it had no log yet, and nothing is lost
        identity.leave(tmp_path)
        identity.found(tmp_path, cluster="barn", node="pi1")
        identity.admitted(tmp_path)
        with pytest.raises(Refused, match=r"founded cluster barn .* for others to join"):
            identity.join(tmp_path, TOKEN, node="pi1")

    def test_a_member_does_not_join_its_own_cluster(self, tmp_path: Path) -> None:
        joined(tmp_path)
        with pytest.raises(Refused, match="member of cluster garage already, as pi2"):
            identity.join(tmp_path, TOKEN, node="pi2")

    def test_a_member_that_joins_anew_says_who_it_was(self, tmp_path: Path) -> None:
        before = joined(tmp_path)
        again = identity.join(tmp_path, TOKEN, node="pi2", force=True)
        assert again.member != before.member
        assert again.previous == before.member
        third = identity.join(tmp_path, TOKEN, node="pi2")  # the second was never let in
        assert third.previous == before.member
        assert identity.admitted(tmp_path).previous == ""

    def test_a_node_of_the_old_epoch_joins_the_new_one_and_not_the_other_way(
        self, tmp_path: Path
    ) -> None:
        joined(tmp_path)
        assert identity.join(tmp_path, replace(TOKEN, epoch=3), node="pi2").epoch == 3
        with pytest.raises(Refused, match=r"epoch 2, this node knows 3"):
            identity.join(tmp_path, TOKEN, node="pi2", force=True)

    def test_a_damaged_identity_is_replaced_by_force_only(self, tmp_path: Path) -> None:
        (tmp_path / "cluster.json").write_bytes(b"{")
        with pytest.raises(InvalidInput):
            identity.join(tmp_path, TOKEN, node="pi2")
        assert identity.join(tmp_path, TOKEN, node="pi2", force=True).cluster == "garage"

    def test_a_key_file_of_the_configuration_must_hold_the_tokens_key(self, tmp_path: Path) -> None:
        key_file = tmp_path / "elsewhere.key"
        for content in (None, bytes(32).hex()):
            if content is not None:
                key_file.write_text(content)
            with pytest.raises(Refused, match=r"leave out cluster\.key_file"):
                identity.join(tmp_path, TOKEN, node="pi2", key_file=str(key_file))
            assert identity.load(tmp_path) is None
        key_file.write_text(TOKEN.key.hex())
        assert identity.join(tmp_path, TOKEN, node="pi2", key_file=str(key_file))
        assert not (tmp_path / "cluster.key").exists()


class TestLater:
    def test_recovering_begins_the_next_epoch_as_the_same_member(self, tmp_path: Path) -> None:
        before = joined(tmp_path)
        assert identity.recover(tmp_path) == replace(before, epoch=3)
        assert identity.load(tmp_path) == replace(before, epoch=3)

    def test_sharing_is_written_once(self, tmp_path: Path) -> None:
        identity.start(tmp_path, cluster=None, node="pi1")
        assert identity.share(tmp_path).shared
        written = (tmp_path / "cluster.json").stat().st_ino
        identity.share(tmp_path)
        assert (tmp_path / "cluster.json").stat().st_ino == written

    def test_who_left_has_no_key_and_founds_a_cluster_of_its_own(self, tmp_path: Path) -> None:
        before = joined(tmp_path)
        identity.leave(tmp_path)
        assert identity.load(tmp_path) is None
        assert not (tmp_path / "cluster.key").exists()
        assert (tmp_path / "log.db.old").read_text() == "of garage"
        after = identity.start(tmp_path, cluster=None, node="pi2")
        assert after.cluster_id != before.cluster_id
        assert load_keys(tmp_path, None).cluster != TOKEN.key

    @pytest.mark.parametrize("change", [identity.share, identity.recover, identity.admitted])
    def test_what_belongs_to_no_cluster_can_not_be_changed(
        self, tmp_path: Path, change: object
    ) -> None:
        with pytest.raises(Refused, match="belongs to no cluster yet"):
            change(tmp_path)  # type: ignore[operator]
