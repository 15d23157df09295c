"""Compose files: what each key becomes, and which sentence tells or refuses the rest."""

import os
import re
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roheletd import compose
from roheletd.compose import service as service_keys
from roheletd.compose.table import table
from roheletd.errors import InvalidInput
from roheletd.model import Service

FILES = Path(__file__).parent / "files"
VARIABLES = {"TAG": "3.1", "SHOP_PASSWORD": "dollars $ are fine", "HOST": "a"}
BESIDE = {
    "web.env": b"# of the shop\nCURRENCY='EUR'\nexport GREETING=\"Hello ${HOST}\"\nPRICE=9 # no\n",
    "./pages.ini": b"[pages]\n",
}


def read(text: str | bytes) -> compose.Composed:
    found = compose.read(
        text.encode() if isinstance(text, str) else text,
        name="compose.yaml",
        application="folder",
        variables=VARIABLES,
        read_file=BESIDE.get,
    )
    assert found is not None
    return found


def of(keys: str, rest: str = "") -> compose.Composed:
    """A file with one service that has these keys, which begin in line 4."""
    indented = "".join(f"    {line}\n" for line in keys.splitlines())
    return read(f"services:\n  web:\n    image: w\n{indented}  other:\n    image: o\n{rest}")


def service(keys: str, rest: str = "") -> Service:
    found = of(keys, rest)
    assert found.unsupported == ()
    return found.services[0]


def refusal(text: str | bytes) -> str:
    with pytest.raises(InvalidInput) as caught:
        read(text)
    return str(caught.value)


def refusal_of(keys: str, rest: str = "") -> str:
    with pytest.raises(InvalidInput) as caught:
        of(keys, rest)
    return str(caught.value)


# --- whole files


@pytest.mark.parametrize("name", ["web", "inference", "hub"])
def test_a_whole_file_becomes_what_the_golden_file_says(name: str) -> None:
    found = read((FILES / f"{name}.yaml").read_bytes())
    plain = msgspec.to_builtins(found)
    plain["services"] = [
        {key: value for key, value in item.items() if value != _DEFAULTS.get(key)}
        for item in plain["services"]
    ]
    text = msgspec.json.format(msgspec.json.encode(plain)).decode() + "\n"
    golden = FILES / f"{name}.json"
    if os.environ.get("ROHELETD_GOLDEN") == "write":
        golden.write_text(text)
    assert text == golden.read_text()
    assert found.unsupported == ()


_DEFAULTS = msgspec.to_builtins(Service(name="x"))


def test_the_published_table_is_that_of_the_code() -> None:
    readme = Path(compose.__file__).with_name("README.md")
    if os.environ.get("ROHELETD_GOLDEN") == "write":
        readme.write_text(table())
    assert readme.read_text() == table()


SPECIFIED = """
    annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent command configs
    container_name cpu_count cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime
    cpu_shares cpus cpuset credential_spec depends_on deploy develop device_cgroup_rules devices dns
    dns_opt dns_search domainname entrypoint env_file environment expose extends external_links
    extra_hosts gpus group_add healthcheck hostname image init ipc isolation label_file labels links
    logging mac_address mem_limit mem_reservation mem_swappiness memswap_limit network_mode networks
    oom_kill_disable oom_score_adj pid pids_limit platform ports post_start pre_stop privileged
    profiles pull_policy read_only restart runtime scale secrets security_opt shm_size stdin_open
    stop_grace_period stop_signal storage_opt sysctls tmpfs tty ulimits user userns_mode uts volumes
    volumes_from working_dir
"""
"""The keys of a service in the Compose Specification."""


def test_every_key_that_is_specified_has_its_line_in_the_table() -> None:
    assert set(SPECIFIED.split()) <= service_keys.KEYS.keys()


def test_every_field_of_a_service_is_a_key_of_the_extension() -> None:
    assert {"cores", "sensitivity", "accelerators", "warm_spare"} <= service_keys._OURS
    assert "name" not in service_keys._OURS


@pytest.mark.parametrize(
    "text", ["services: [{name: web}]", "data: {}", "", "nodes: []", "services: web", "[]"]
)
def test_other_files_are_no_compose_files(text: str) -> None:
    assert (
        compose.read(
            text.encode(), name="f.yaml", application="a", variables={}, read_file=BESIDE.get
        )
        is None
    )


# --- keys


@pytest.mark.parametrize(
    ("keys", "field", "value"),
    [
        ("command: echo 'a b' c", "command", ("echo", "a b", "c")),
        ("command: [echo, a b, 1]", "command", ("echo", "a b", "1")),
        ("entrypoint: sh -c 'a b'", "entrypoint", ("sh", "-c", "a b")),
        ("entrypoint: [tini, --]\ncommand: run", "entrypoint", ("tini", "--")),
        ("entrypoint:", "entrypoint", None),
        ("entrypoint: []\ncommand: run", "entrypoint", ()),
        ("entrypoint: ''\ncommand: run", "entrypoint", ()),
        ("entrypoint: ['']\ncommand: run", "entrypoint", ()),
        ("user: 1000", "user", "1000"),
        ("user: 1000:50", "user", "1000:50"),
        ("user: '${GONE:-}'", "user", None),
        ("user: app:video", "user", "app:video"),
        ("working_dir: /", "working_dir", "/"),
        ("hostname: cam-1.hall", "hostname", "cam-1.hall"),
        ("tty: false", "init", True),
        ("init: false", "init", False),
        ("init: 'true'", "init", True),
        ("read_only: true", "read_only", True),
        ("stop_signal: SIGINT", "stop_signal", "SIGINT"),
        ("stop_signal: quit", "stop_signal", "SIGQUIT"),
        ("stop_signal: SIGRTMIN+3", "stop_signal", "SIGRTMIN+3"),
        ("environment: [A=1, HOST, B=x=y]", "env", {"A": "1", "HOST": "a", "B": "x=y"}),
        ("environment: {A: true, B: 1.5, C: '$$x'}", "env", {"A": "true", "B": "1.5", "C": "$x"}),
        ("environment: ['A=$$x']", "env", {"A": "$x"}),
        ("env_file: [{path: gone.env, required: false}]", "env", {}),
        ("cpus: 0.25", "cpu_millicores", 250),
        ("mem_limit: 1.5g", "memory_mib", 1536),
        ("mem_limit: 1000", "memory_mib", 1),
        ("mem_reservation: 64mb", "memory_mib", 64),
        ("platform: linux/arm64/v8", "architectures", ("arm64",)),
        ("pull_policy: if_not_present", "pull", "missing"),
        ("stop_grace_period: 1m30s", "stop_grace_s", 90.0),
        ("stop_grace_period: 500ms", "stop_grace_s", 0.5),
        ("labels: [a=b, c]", "labels", {"a": "b", "c": ""}),
        ("labels: {a: b}\ndeploy: {labels: {c: d}}", "labels", {"a": "b", "c": "d"}),
        ("gpus: all", "accelerators", {"gpu": 100}),
        ("deploy: {replicas: 0}", "replicas", 0),
        ("deploy: {replicas: '${N:-4}'}", "replicas", 4),
        ("deploy: {mode: replicated}", "replicas", 1),
        ("healthcheck: {disable: true}", "health", None),
        ("healthcheck: {test: [NONE]}", "health", None),
        ("x-rohe: {accelerators: {gpu: 30}}", "accelerators", {"gpu": 30}),
        ("x-rohe: {env: {A: b}}", "env", {"A": "b"}),
        ("x-other: {anything: [goes]}", "env", {}),
        ("privileged: false\ntty: false\ncap_add: []\nvolumes:", "env", {}),
    ],
)
def test_a_key_becomes_a_field(keys: str, field: str, value: object) -> None:
    assert getattr(service(keys), field) == value


@pytest.mark.parametrize(
    ("written", "ports"),
    [
        ("['80']", [(80, 0, 0, "tcp")]),
        ("[80]", [(80, 0, 0, "tcp")]),
        ("['8080:80/udp']", [(80, 0, 8080, "udp")]),
        ("[8080:80]", [(80, 0, 8080, "tcp")]),
        ("['7000-7001:70-71']", [(70, 0, 7000, "tcp"), (71, 0, 7001, "tcp")]),
        ("[{target: 53, published: '5353', protocol: udp}]", [(53, 0, 5353, "udp")]),
        ("[{target: 53, published: 5353, mode: host}]", [(53, 5353, 0, "tcp")]),
        ("['53:53', '53:53/udp']", [(53, 0, 53, "tcp"), (53, 0, 53, "udp")]),
    ],
)
def test_a_port_is_that_of_every_node_unless_its_mode_is_host(
    written: str, ports: list[tuple[int, int, int, str]]
) -> None:
    found = service(f"ports: {written}").ports
    assert [(it.container_port, it.host_port, it.service_port, it.protocol) for it in found] == (
        ports
    )


def test_expose_adds_a_port_that_nothing_publishes() -> None:
    found = service("ports: ['8080:80']\nexpose: ['80', 9000]").ports
    assert [(it.container_port, it.service_port) for it in found] == [(80, 8080), (9000, 9000)]


def test_a_number_that_two_services_expose_is_the_first_ones_and_the_other_is_told() -> None:
    found = read("services:\n  a: {image: a, expose: [80]}\n  b: {image: b, expose: [80]}\n")
    assert [it.ports[0].service_port for it in found.services] == [80, 0]
    assert (
        "line 3: services.b.expose[0] is at a port of the nodes that the cluster" in found.notes[0]
    )


@pytest.mark.parametrize(
    ("constraint", "ours"),
    [
        ("node.labels.zone==hall", "node.labels.zone == hall"),
        ("node.hostname != pi3", "node.name != pi3"),
        ("node.platform.arch == aarch64", "node.arch == aarch64"),
    ],
)
def test_a_constraint_says_what_a_node_must_be(constraint: str, ours: str) -> None:
    found = service(f"deploy: {{placement: {{constraints: ['{constraint}']}}}}")
    assert found.constraints == (ours,)


def test_a_constraint_on_linux_is_met_by_every_node() -> None:
    assert (
        service("deploy: {placement: {constraints: ['node.platform.os == linux']}}").constraints
        == ()
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$HOST", "a"),
        ("${HOST}x", "ax"),
        ("${GONE:-x}", "x"),
        ("${GONE-x}", "x"),
        ("${GONE:-}", ""),
        ("${GONE:-${HOST}}", "a"),
        ("${HOST:-${GONE}}", "a"),
        ("${HOST:+b}", "b"),
        ("${GONE+b}", ""),
        ("${GONE:-{}}", "{}"),
        ("$$HOST", "$HOST"),
        ("${SHOP_PASSWORD}", "dollars $ are fine"),
    ],
)
def test_a_variable_has_its_value_or_its_default(text: str, value: str) -> None:
    assert service(f"environment: {{A: '{text}'}}").env["A"] == value


def test_a_name_alone_without_a_value_is_told() -> None:
    found = of("environment: [GONE]")
    assert found.services[0].env == {}
    assert found.notes[0].startswith("line 4: services.web.environment.GONE is not set")


def test_a_check_that_may_take_longer_than_the_interval_is_asked_less_often_and_told() -> None:
    found = of("healthcheck: {test: x, interval: 5s, timeout: 8s}")
    health = found.services[0].health
    assert health is not None
    assert (health.interval_s, health.timeout_s) == (8.0, 8.0)
    assert "has an interval of 8 s" in found.notes[0]
    quick = service("healthcheck: {test: x, interval: 1s}").health
    assert quick is not None
    assert (quick.interval_s, quick.timeout_s) == (1.0, 1.0)


def test_a_merged_value_is_told_with_the_line_where_it_was_written() -> None:
    found = read(
        "x-a: &a\n  privileged: true\nservices:\n  web:\n    <<: [*a, {image: w}]\n    command: c\n"
    )
    assert found.services[0].image == "w"
    assert found.unsupported[0].startswith("line 2: services.web.privileged is not supported")


def test_what_a_service_says_itself_goes_before_what_it_merges() -> None:
    found = read("x-a: &a {image: a, command: [x]}\nservices: {web: {<<: *a, image: w}}")
    assert (found.services[0].image, found.services[0].command) == ("w", ("x",))


def test_a_secret_in_two_services_is_one_with_a_file_for_each_name() -> None:
    rest = "secrets: {key: {environment: HOST}}"
    found = of("secrets: [key, {source: key, target: other, mode: 0444}]", rest)
    assert found.secrets == (compose.Stored("folder_key", {"key": b"a", "other": b"a"}),)
    assert found.services[0].secrets[0].path == "/run/secrets"
    assert [it.any_user for it in found.services[0].secrets] == [False, True]


def test_an_external_config_is_in_the_cluster_already() -> None:
    found = of(
        "configs: [{source: c, target: /etc/c/c}]", "configs: {c: {external: true, name: real}}"
    )
    assert found.config_maps == ()
    assert "the folder /etc/c, which then holds nothing else" in found.notes[0]
    assert found.services[0].config_maps[0].name == "real"


# --- what is not supported is told by line


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("privileged: true", "line 4: services.web.privileged is not supported: containers have"),
        ("imagee: x", "line 4: services.web.imagee is not supported: no such key is known here"),
        ("build: .", "line 4: services.web.build is not supported: images are pulled"),
        ("\nulimits: {nofile: 9}", "line 5: services.web.ulimits"),
        ("stop_signal: SIGABRT", "the signal SIGABRT; SIGHUP, SIGINT, SIGQUIT, SIGKILL, SIGUSR1"),
        ("stop_signal: 9", "the signal 9; SIGHUP"),
        ("deploy:\n  mode: global", "line 5: services.web.deploy.mode"),
        ("ports: ['127.0.0.1:80:80']", "a port cannot be bound to one address (127.0.0.1)"),
        ("ports: ['[::1]:80:80']", "a port cannot be bound to one address ([::1])"),
        ("volumes: ['./html:/srv']", "./html is on this machine, not on the nodes"),
        ("volumes: ['~/html:/srv']", "~/html is on this machine"),
        ("volumes: [/data]", "a volume without a name is lost with its container"),
        ("volumes: ['/a:/b:nosuch']", "the option nosuch"),
        ("restart: 'no'", "nothing runs only once"),
        ("restart: false", ""),
        ("depends_on: {other: {condition: service_completed_successfully}}", "runs only once"),
        ("depends_on: {other: {restart: true}}", "services.web.depends_on.other.restart"),
        ("healthcheck: {interval: 5s}", "without `test`"),
        ("gpus: [{count: 2}]", "an instance gets one GPU"),
        ("tmpfs: /x:mode=700", "only its size can be chosen, not mode=700"),
        ("deploy: {placement: {constraints: [node.role == worker]}}", "constraints are on"),
        ("deploy: {update_config: {failure_action: continue}}", "does not go on"),
        ("networks: {a: {aliases: [b]}}", "networks.a.aliases is not supported: a service has"),
        ("networks: {a: {ipv4_address: 1.2.3.4}}", "addresses are the engine's to give"),
        ("links: ['other:db']", "a service has one name"),
        ("platform: windows/amd64", "linux/ARCHITECTURE"),
        ("configs: [c]", "a file in the root folder (/c)"),
    ],
)
def test_what_is_not_supported_is_told_with_its_line(keys: str, told: str) -> None:
    found = of(keys, "configs: {c: {content: x}}").unsupported
    if told:
        (sentence,) = found
        assert told in sentence
        assert re.match(r"line [45]: services\.web\.", sentence)


def test_a_network_that_keeps_the_outside_away_is_told() -> None:
    found = of("networks: [a]", "networks: {a: {driver: bridge}, b: {internal: true}}")
    assert found.unsupported[0].startswith("line 7: networks.b.internal is not supported")
    assert [note.split(" has")[0] for note in found.notes] == [
        "line 4: services.web.networks",
        "line 7: networks",
    ]


def test_a_volume_of_two_services_is_told_since_each_instance_has_its_own() -> None:
    found = read(
        "services:\n  a:\n    image: a\n    volumes: ['v:/v']\n"
        "  b:\n    image: b\n    volumes: ['v:/v']\nvolumes: {v: {}}\n"
    )
    (sentence,) = found.unsupported
    assert sentence.startswith("line 7: services.b.volumes[0] is not supported: volume v is that")


def test_all_that_is_not_supported_is_told_at_once_in_the_order_of_the_lines() -> None:
    found = of("tty: true\nipc: host\nprivileged: true", "include: [x]").unsupported
    assert [it.split(" is not")[0] for it in found] == [
        "line 4: services.web.tty",
        "line 5: services.web.ipc",
        "line 6: services.web.privileged",
        "line 9: include",
    ]


# --- what is wrong is refused by line


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ("depends_on: [gone]", "line 4: services.web.depends_on[0]: expected a service of this"),
        ("depends_on: [web]", "expected another service, got this one"),
        ("ports: ['99999']", "line 4: services.web.ports[0]: expected ports from 1 to 65535"),
        ("ports: ['0:80']", "expected ports from 1 to 65535"),
        ("ports: ['80:90-91']", "expected as many published ports"),
        ("ports: ['80/sctp']", "expected tcp or udp, got sctp"),
        ("ports: ['x:80']", "expected a port such as 80"),
        ("ports: ['1-60000:1-60000']", "expected at most 256 ports in a range"),
        ("ports: {a: b}", "services.web.ports: expected a list, got a mapping"),
        ("ports: [{published: 80}]", "expected `target`"),
        ("ports: ['80:80', '81:80']", "expected each container port once, line 4 has it too"),
        (
            "ports: [{target: 1, published: 9, mode: host}, {target: 2, published: 9, mode: host}]",
            "expected each host port once, got (9, 'tcp')",
        ),
        ("environment: {A: '$GONE'}", "line 4: services.web.environment.A: variable GONE is not"),
        ("environment: {A: '${GONE:?why}'}", "variable GONE is not set: why"),
        ("environment: {A: '${GONE'}", "expected a closing brace"),
        ("environment: {A: '${GONE:-x'}", "expected a closing brace"),
        ("environment: {A: '${GONE!x}'}", "expected `${GONE}` or `${GONE:-default}`"),
        ("environment: {A: 'cost 5$'}", "for a dollar, `$$`"),
        ("environment: {A: {b: c}}", "expected text, got a mapping"),
        ("environment: x", "expected a mapping, or a list of KEY=VALUE"),
        ("env_file: gone.env", "line 4: services.web.env_file: expected a file that is there, got"),
        ("secrets: [gone]", "expected a name that the key `secrets` at the top defines, got gone"),
        ("configs: [gone]", "expected a name that the key `configs` at the top defines, got gone"),
        ("volumes: ['gone:/x']", "expected a volume that `volumes` at the top defines, got gone"),
        ('command: "a \'b"', "expected a command as a shell reads it: no closing quotation"),
        ("entrypoint: []", "services.web.entrypoint: expected a `command` beside []"),
        ("entrypoint: ['', x]", "services.web.entrypoint: expected a program, got"),
        ('entrypoint: "a \'b"', "services.web.entrypoint: expected a command as a shell reads it"),
        ("entrypoint: {a: b}", "expected a command, as text or as a list, got a mapping"),
        ("user: 'a b'", "services.web.user: expected a user by name or number"),
        ("user: ':5'", "services.web.user: expected a user by name or number"),
        ("user: 3000000000", "expected a uid and a gid of at most 2147483647, got 3000000000"),
        ("user: [1]", "services.web.user: expected text, got a list"),
        ("working_dir: srv/app", "services.web.working_dir: expected an absolute path"),
        ("hostname: cam_1", "services.web.hostname: expected a host name of letters"),
        ("init: maybe", 'services.web.init: expected true or false, got "maybe"'),
        ("x-rohe: {user: a}\nuser: b", "expected once"),
        ("x-rohe: {volumes: 5}\nvolumes: ['/a:/b']", "volumes[0]: expected once, services.web.x-"),
        ("volumes: ['/a:/b']\nx-rohe: {volumes: []}", "x-rohe.volumes: expected once, services."),
        ("x-rohe: {depends_on: 5}\ndepends_on: [other]", "depends_on[0]: expected once"),
        ("x-rohe: {ports: 5}\nports: [80]", "ports[0]: expected once, services.web.x-rohe.ports"),
        ("cpus: lots", 'expected a number of CPUs such as 0.5, got "lots"'),
        ("mem_limit: -5", "expected a size such as 64M or 1.5G"),
        ("mem_limit: 9999999999999999t", "services.web.mem_limit: expected `int` <= 1000000000"),
        ("stop_grace_period: 5", "expected a time such as 10s, 1m30s or 500ms"),
        ("stop_grace_period: 2h", "services.web.stop_grace_period: expected `float` <= 3600.0"),
        ("deploy: {replicas: -1}", "deploy.replicas: expected a whole number from 0 to 10000"),
        ("deploy: {replicas: 2}\nscale: 3", "expected once, services.web.deploy.replicas in line"),
        ("x-rohe: {coress: [1]}", "services.web.x-rohe.coress: unknown field; known here:"),
        ("x-rohe: {cores: [-1]}", "services.web.x-rohe.cores: expected `int` >= 0"),
        ("x-rohe: {cpu_millicores: 5}\ncpus: 1", "expected once"),
        ("x-rohe: {constraints: [zone]}", "expected `node.FACT OPERATOR VALUE`"),
        ("healthcheck: {test: [CMD]}", "expected [NONE], [CMD, program, ...]"),
        ("healthcheck: {test: x, retries: 0}", "retries: expected a whole number from 1 to 100"),
        ("volumes: ['/a:relative']", "services.web.volumes[0]: expected an absolute path below /"),
        ("deploy: {update_config: {order: random}}", "expected start-first or stop-first"),
    ],
)
def test_what_is_wrong_is_refused_with_its_line(keys: str, reason: str) -> None:
    said = refusal_of(keys)
    assert said.startswith("compose.yaml, line 4: services.web.") or "line 5" in said
    assert reason in said


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("services: {}", "expected 1 to 1000 services, got 0"),
        ("services: {web: }", "services.web: expected a mapping, got nothing"),
        ("services: {web: {}}", "services.web: expected `image`"),
        ("services: {w.x: {image: a}}", "expected a name of letters, digits"),
        ("name: a b\nservices: {w: {image: a}}", "line 1: name: expected a name of letters"),
        (
            "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [a]}",
            "line 2: services.a: expected `depends_on` without a circle, got one among a, b",
        ),
        (
            "services:\n  a: {image: x, ports: ['80:1']}\n  b: {image: x, ports: ['80:2']}",
            "line 3: services.b.ports: expected each published port once, a (line 2) has 80 too",
        ),
        ("services: {w: {image: a}}\nsecrets: {s: {}}", "expected one of `file`, `content`"),
        ("services: {w: {image: a}}\nsecrets: {s: {environment: NO}}", "variable NO is not set"),
        ("services: {w: {image: a}}\nconfigs: {c: {file: gone}}", "expected a file that is there"),
        ("services:\n\tweb: x", "line 2, column 1: expected YAML"),
        ("services: {web: {image: !!str w}}", "expected a value without a tag"),
        ("services: &a {web: *a}", "expected an anchor that ends before here, got `*a`"),
        ("services: {web: {<<: text}}", "line 1: expected a mapping, or a list of them, after"),
        ("services: {web: {image: a, image: b}}", "expected each key once"),
        (b"services: {web: {image: a}} #" + b"x" * 10_000_000, "expected at most 1048576 bytes"),
        (b"\xff\xfe", "expected UTF-8"),
    ],
)
def test_a_file_that_is_wrong_is_refused(text: str | bytes, reason: str) -> None:
    assert reason in refusal(text)


def test_a_billion_laughs_are_refused_before_they_are_laughed() -> None:
    lines = ["a0: &a0 [lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    assert "aliases counted as often" in refusal("\n".join([*lines, "services: {w: {image: a}}"]))
    lines = ["a0: &a0 {k: lol}"]
    lines += [
        f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}], k{n}: x}}" for n in range(1, 9)
    ]
    assert "aliases counted as often" in refusal("\n".join([*lines, "services: {w: {image: a}}"]))


def test_a_quoted_value_of_an_env_file_is_as_compose_reads_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for written, value in (
        (r'"a\nb"', "a\nb"),
        (r'"say \"x\" # no" # yes', 'say "x" # no'),
        (r'"\$HOST and $HOST"', "$HOST and a"),
        (r'"C:\\new\\d"', "C:\\new\\d"),
        (r'"C:\dir"', "C:\\dir"),
        (r"'a\nb $HOST'", r"a\nb $HOST"),
        (r"a\nb", r"a\nb"),
    ):
        monkeypatch.setitem(BESIDE, "web.env", f"A={written}\n".encode())
        assert service("env_file: web.env").env["A"] == value


def test_a_file_name_that_no_config_map_can_have_is_refused_by_its_line() -> None:
    said = refusal_of("configs: [{source: c, target: /x/a b}]", "configs: {c: {content: x}}")
    assert "line 4: services.web.configs[0]: expected a key of letters" in said
    assert said.endswith("as the file's name, got a b")


def test_nvidias_runtime_is_a_gpu_unless_another_key_says_how_much_of_one() -> None:
    found = of("runtime: nvidia")
    assert found.services[0].accelerators == {"gpu": 100}
    assert "line 4: services.web.runtime is one whole GPU" in found.notes[0]
    for keys, asked in (
        ("runtime: nvidia\nx-rohe: {accelerators: {gpu: 30}}", {"gpu": 30}),
        ("x-rohe: {accelerators: {}}\nruntime: nvidia", {}),
        ("runtime: runc", {}),
    ):
        assert service(keys).accelerators == asked


def test_a_line_of_an_env_file_that_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, reason in (
        (b"A=1\n=2\n", "web.env, line 2: expected NAME=value"),
        (b"A=$GONE\n", "web.env, line 1: variable GONE is not set"),
        (b"A='x\n", "web.env, line 1: expected a closing '"),
        (b'A="x\\"\n', 'web.env, line 1: expected a closing "'),
        (b'A="x"y\n', 'web.env, line 1: expected nothing but a comment after the closing "'),
        (b"\xff", "web.env: expected UTF-8"),
    ):
        monkeypatch.setitem(BESIDE, "web.env", text)
        assert reason in refusal_of("env_file: web.env")


# --- whatever else

_KEYS = st.sampled_from(
    [
        *(*service_keys.KEYS, *sorted(service_keys._OURS)),
        *("test", "target", "published", "source", "condition", "resources", "limits", "update"),
        *("placement", "constraints", "preferences", "devices", "update_config", "external"),
    ]
)
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["${X", "$", "1:2:3", "80/udp", "0-0", "a=b", "1m", "4g", "/", "a:b", "\x00"])
    | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(_KEYS | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(_KEYS, _VALUES, max_size=4), _VALUES, _VALUES)
def test_whatever_is_in_a_file_it_is_read_or_refused(
    keys: dict[str, object], configs: object, secrets: object
) -> None:
    document = {"services": {"web": {"image": "w", **keys}}, "configs": configs, "secrets": secrets}
    with suppress(InvalidInput):
        read(msgspec.json.encode(document))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet="{}[]:,&*<>!|-# \n\tab\"'$", max_size=60))
def test_whatever_the_text_is_it_is_read_or_refused(text: str | bytes) -> None:
    with suppress(InvalidInput):
        compose.read(
            text.encode() if isinstance(text, str) else text,
            name="f",
            application="a",
            variables={},
            read_file=BESIDE.get,
        )
