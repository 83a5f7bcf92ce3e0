"""The manifests for Kubernetes, rendered by the real Salt over a matrix of pillars, and judged without a cluster."""

import base64
import copy
import pathlib
import stat

import kubernetes_validate
import pytest
import restricted
import salt.loader
import yaml

CHECKOUT = pathlib.Path(__file__).parents[2]
DIGEST = "sha256:" + "0a" * 32
VERSIONS = kubernetes_validate.utils.all_versions()[-4:]
NASTY = "x: {{ y }} #'\"\\ $(HOME) é 😀\n- z\n\t"

# What pillar says below globoapp, and below globoapp:kubernetes.
MATRIX = {
    "in memory": ("1.0", {}, {}),
    "in memory, too": ("1.1", {"workers": 4, "access_log": True}, {"pre_stop": 0, "namespace": "web"}),
    "SQLite": ("2.0", {"memory_max": "300M"}, {"storage": "2Gi", "pull_secret": "hub"}),
    "a database": ("3.0", {"connect": ["10.0.0.6:5432", "fd00::/8"]}, {}),
    "all": (
        "3.1",
        {
            "port": 9000, "bind": "::", "workers": "auto", "memory_max": "1G", "cpu_quota": "250%", "keep": 3,
            "soak": 9.5, "deadline": 1.5, "timeout": 0.5, "graceful_timeout": 60, "connect": ["0.0.0.0/0"],
            "uid": 980, "gid": 981,
            "environment": {"A": NASTY, "B": 7, "no": "null", "E": ""}, "release_command": ["sh", "-c", NASTY],
        },
        {"dns": True, "replicas": 3, "ingress": {"host": "*.example.com", "class": "nginx", "tls": "cert"}},
    ),
    "as many as it is": (
        "3.1", {"release_command": False}, {"replicas": 4, "replicas_max": 4, "ingress": {"host": "a"}}
    ),
    "one of them": ("3.1", {"environment": {}}, {"replicas": 1, "replicas_max": 1}),
}  # fmt: skip


def pillar_of(case, directory):
    version, section, wishes = MATRIX[case]
    kubernetes = {
        "image": "registry.example.com:5000/team/app",
        "digest": DIGEST,
        "directory": str(directory),
        **wishes,
    }
    return {"version": version, "globoapp": {**section, "kubernetes": kubernetes}}


def applied(modules, pillar, **arguments):
    """The states of a run of globoapp.kubernetes, in their order."""
    run = modules["state.sls"]("globoapp.kubernetes", pillar=pillar, **arguments)
    run = getattr(run, "raw", run)
    assert isinstance(run, dict), run
    return sorted(run.values(), key=lambda one: one["__run_num__"])


def manifests(directory):
    """{file without .yaml: its document} of what is in directory."""
    paths = sorted(directory.glob("*/*.yaml"))
    return {f"{path.parent.name}/{path.stem}": yaml.safe_load(path.read_text()) for path in paths}


@pytest.fixture
def render(loaders, tmp_path):
    """A function of a case of MATRIX: the manifests that it gives."""

    def rendered(case, directory=tmp_path / "out"):
        states = applied(loaders.modules, pillar_of(case, directory))
        assert [one["comment"] for one in states if one["result"] is not True] == []
        return manifests(directory)

    return rendered


@pytest.mark.parametrize("case", MATRIX)
def test_each_manifest_is_what_kubernetes_takes(render, case):
    for file, document in render(case).items():
        for version in VERSIONS:
            kubernetes_validate.validate(document, version, strict=True)
        assert file.split("/")[1] == document["kind"].lower()
        assert document["metadata"].get("namespace") == MATRIX[case][2].get("namespace")


def test_four_versions_of_kubernetes_judge_them_and_strictly(render):
    assert len(VERSIONS) == 4
    deployment = render("in memory")["serve/deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0]["livenes"] = {}
    for version in VERSIONS:
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(deployment, version, strict=True)


def pods(documents):
    """The pod specs of the manifests that have one."""
    return [
        documents[file]["spec"]["template"]["spec"] for file in ("serve/deployment", "prepare/job") if file in documents
    ]


@pytest.mark.parametrize("case", MATRIX)
def test_the_pods_are_restricted(render, case):
    for pod in pods(render(case)):
        assert restricted.broken(pod) == []
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]
            assert container["image"] == f"registry.example.com:5000/team/app@{DIGEST}"


# What breaks a control: where in the pod's spec, or its first container's, and what is put there.
BREAKS = {
    "no host namespaces": (("hostNetwork",), True),
    "no host process": (("securityContext", "windowsOptions"), {"hostProcess": True}),
    "not privileged": (("containers", 0, "securityContext", "privileged"), True),
    "capabilities: ALL dropped": (("containers", 0, "securityContext", "capabilities"), {"drop": ["KILL"]}),
    "capabilities: none added": (("containers", 0, "securityContext", "capabilities", "add"), ["SYS_ADMIN"]),
    "volumes of the kinds that are allowed": (("volumes", 0), {"name": "x", "hostPath": {"path": "/"}}),
    "no host ports": (("containers", 0, "ports", 0, "hostPort"), 80),
    "no probes of other hosts": (("containers", 0, "livenessProbe", "tcpSocket", "host"), "10.0.0.1"),
    "AppArmor and SELinux as they are": (("containers", 0, "securityContext", "procMount"), "Unmasked"),
    "seccomp: RuntimeDefault or Localhost": (("securityContext", "seccompProfile", "type"), "Unconfined"),
    "sysctls that are safe": (("securityContext", "sysctls"), [{"name": "kernel.msgmax", "value": "1"}]),
    "no escalation": (("containers", 0, "securityContext", "allowPrivilegeEscalation"), True),
    "not root": (("containers", 0, "securityContext", "runAsNonRoot"), False),
    "no uid 0": (("containers", 0, "securityContext", "runAsUser"), 0),
}


def test_what_is_not_restricted_is_seen(render):
    assert list(BREAKS) == list(restricted.CONTROLS)
    (pod,) = pods(render("in memory"))
    for control, (path, value) in BREAKS.items():
        changed = copy.deepcopy(pod)
        place = changed
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        assert restricted.broken(changed) == [control]


WITHOUT = {"prepare/persistentvolumeclaim", "prepare/job", "serve/ingress"}
SEVERAL = {"serve/poddisruptionbudget", "serve/horizontalpodautoscaler"}
ALL = {f"prepare/{kind}" for kind in ("serviceaccount", "networkpolicy", "configmap", "secret")} | {
    "serve/service",
    "serve/deployment",
}
FILES = {
    "in memory": ALL,
    "SQLite": ALL | {"prepare/persistentvolumeclaim"},
    "a database": ALL | SEVERAL | {"prepare/job"},
    "all": ALL | SEVERAL | {"prepare/job", "serve/ingress"},
    "as many as it is": ALL | {"serve/poddisruptionbudget", "serve/ingress"},
    "one of them": ALL | {"prepare/job"},
}


@pytest.mark.parametrize("case", FILES)
def test_what_a_version_does_not_want_is_taken_away(render, tmp_path, case):
    render("all", tmp_path)
    assert set(render(case, tmp_path)) == FILES[case]


@pytest.mark.parametrize("case", MATRIX)
def test_a_second_run_changes_nothing_and_a_dry_run_shows_the_difference(loaders, tmp_path, case):
    pillar = pillar_of(case, tmp_path)
    dry = applied(loaders.modules, pillar, test=True)
    assert any(one["changes"] for one in dry)
    assert not any(tmp_path.iterdir())
    applied(loaders.modules, pillar)
    assert [one["changes"] for one in applied(loaders.modules, pillar) if one["changes"]] == []
    pillar["globoapp"]["graceful_timeout"] = 77
    changes = {one["name"]: one["changes"] for one in applied(loaders.modules, pillar, test=True)}
    assert "+      terminationGracePeriodSeconds: " in changes[f"{tmp_path}/serve/deployment.yaml"]["diff"]


def test_secrets_are_in_no_output_and_in_a_file_of_root(loaders, tmp_path):
    pillar = pillar_of("in memory", tmp_path)
    encoded = base64.b64encode(b"geheim").decode()
    for arguments in ({"test": True}, {}):
        pillar["globoapp"]["environment"] = {"KEY": "geheim"}
        states = str(applied(loaders.modules, pillar, **arguments))
        assert "geheim" not in states
        assert encoded not in states
    path = tmp_path / "prepare/secret.yaml"
    assert encoded in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert encoded not in str(loaders.modules.state.show_low_sls("globoapp.kubernetes", pillar=pillar))


def test_texts_arrive_as_they_are(render):
    documents = render("all")
    environment = {key: base64.b64decode(value).decode() for key, value in documents["prepare/secret"]["data"].items()}
    assert environment == {"A": NASTY, "B": "7", "no": "null", "E": ""}
    (container,) = documents["prepare/job"]["spec"]["template"]["spec"]["containers"]
    # Kubernetes makes one $ of two, and puts a variable in for $(NAME).
    assert container["command"] == ["sh", "-c", NASTY.replace("$", "$$")]


def test_the_figures_of_a_server_are_those_of_its_pods(render):
    documents = render("all")
    deployment = documents["serve/deployment"]["spec"]
    pod = deployment["template"]["spec"]
    (web,) = pod["containers"]
    assert "replicas" not in deployment, "the autoscaler's"
    assert (deployment["minReadySeconds"], deployment["revisionHistoryLimit"]) == (10, 3)
    assert deployment["progressDeadlineSeconds"] > deployment["minReadySeconds"]
    assert deployment["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    assert pod["terminationGracePeriodSeconds"] == 5 + 60 + 5
    assert web["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}}
    assert web["args"] == ["--bind", "[::]:9000", "api:app"]
    assert web["resources"]["limits"] == {"cpu": "2500m", "memory": "1024Mi"}
    assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"]) == (980, 981)
    assert web["startupProbe"]["failureThreshold"] == 2
    assert web["readinessProbe"]["httpGet"]["httpHeaders"] == [{"name": "Host", "value": "localhost"}]
    assert web["livenessProbe"]["tcpSocket"] == {"port": "http"}
    settings = yaml.safe_load(documents["prepare/configmap"]["data"]["gunicorn.json"])
    assert (settings["workers"], settings["graceful_timeout"]) == (4, 60), "by the memory and the processors of the pod"
    scaler = documents["serve/horizontalpodautoscaler"]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 9)


@pytest.mark.parametrize(("case", "why"), [("in memory", "memory of one process"), ("SQLite", "on one volume")])
def test_a_version_that_cannot_be_twice_is_there_once_and_says_why(render, loaders, tmp_path, case, why):
    deployment = render(case)["serve/deployment"]["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    assert why in (tmp_path / "out/serve/deployment.yaml").read_text()
    first, *_ = applied(loaders.modules, pillar_of(case, tmp_path))
    assert why in first["name"]


def test_what_runs_keeps_its_configuration(render, tmp_path):
    """Other content has another name; and what reads it says that name."""
    documents = [render("in memory", tmp_path / "a"), render("in memory, too", tmp_path / "b")]
    names = [one["prepare/configmap"]["metadata"]["name"] for one in documents]
    assert names[0] != names[1]
    for one, name in zip(documents, names, strict=True):
        assert one["prepare/configmap"]["immutable"] is one["prepare/secret"]["immutable"] is True
        (pod,) = pods(one)
        assert {"name": "settings", "configMap": {"name": name}} in pod["volumes"]
        assert pod["containers"][0]["envFrom"] == [{"secretRef": {"name": one["prepare/secret"]["metadata"]["name"]}}]


def test_what_the_app_may_connect_to_is_all_that_goes_out(render):
    assert render("in memory")["prepare/networkpolicy"]["spec"]["egress"] == []
    assert render("a database")["prepare/networkpolicy"]["spec"]["egress"] == [
        {"to": [{"ipBlock": {"cidr": "10.0.0.6/32"}}], "ports": [{"protocol": "TCP", "port": 5432}]},
        {"to": [{"ipBlock": {"cidr": "fd00::/8"}}]},
    ]


def test_labels_find_the_pods(render):
    documents = render("all")
    labels = documents["serve/deployment"]["spec"]["template"]["metadata"]["labels"]
    once = documents["prepare/job"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        documents["serve/service"]["spec"]["selector"],
        documents["serve/deployment"]["spec"]["selector"]["matchLabels"],
        documents["serve/poddisruptionbudget"]["spec"]["selector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()
        assert not selector.items() <= once.items(), "clients are not sent to a migration"
    policy = documents["prepare/networkpolicy"]["spec"]["podSelector"]["matchLabels"]
    assert policy.items() <= labels.items() & once.items()


@pytest.mark.parametrize("trim", [False, True])
@pytest.mark.parametrize("lstrip", [False, True])
def test_manifests_are_the_same_however_the_minion_is_configured(minion, loaders, render, tmp_path, trim, lstrip):
    wanted = render("all", tmp_path / "a")
    options = {**copy.deepcopy(minion.config), "grains": loaders.opts["grains"]}
    options["jinja_env"] = options["jinja_sls_env"] = {"trim_blocks": trim, "lstrip_blocks": lstrip}
    modules = salt.loader.minion_mods(options, utils=salt.loader.utils(options))
    applied(modules, pillar_of("all", tmp_path / "b"))
    assert manifests(tmp_path / "b") == wanted


def test_all_that_makes_no_sense_here_is_refused_at_once(loaders, tmp_path):
    pillar = pillar_of("in memory", tmp_path)
    pillar["globoapp"].update(bind="eth0", memory_max="50%", port=80, proxy={"self_signed": True, "port": 8443}, prot=1)
    pillar["globoapp"]["kubernetes"].update(image="a:1", replica=2)
    (state,) = applied(loaders.modules, pillar)
    assert state["result"] is False
    first, *lines = state["comment"].splitlines()
    assert first == "Nothing was touched. To be put right first:"
    told = ["globoapp:prot is", "bind is 'eth0'", "kubernetes:replica is an unknown", "kubernetes:image is 'a:1'",
            "port is 80", "proxy is set", "memory_max is '50%'"]  # fmt: skip
    assert len(lines) == len(told)
    assert [part for part in told if not any(part in line for line in lines)] == []
    assert not any(tmp_path.iterdir())


def test_no_digest_is_told_with_what_to_do(loaders, tmp_path):
    pillar = pillar_of("in memory", tmp_path)
    del pillar["globoapp"]["kubernetes"]["digest"]
    pillar["globoapp"]["name"] = "other"
    (state,) = applied(loaders.modules, pillar)
    assert "other-1.0" in state["comment"]


def test_several_apps_have_directories_of_their_own(loaders, tmp_path):
    pillar = pillar_of("in memory", tmp_path / "globoapp")
    shop = {**pillar_of("SQLite", tmp_path / "shop")["globoapp"], "version": "2.0", "port": 9000, "name": "shop"}
    shop["source"] = "salt://globoapp-2.0.zip"
    states = applied(
        loaders.modules, {"globoapp": {**pillar["globoapp"], "version": "1.0"}, "globoapps": {"shop": shop}}
    )
    assert set(manifests(tmp_path / "globoapp")) == FILES["in memory"]
    # The artifact is globoapp's: its app is told what is wrong, the other one has its manifests.
    assert [one["comment"] for one in states if not one["result"]][0].count("manifest.json says name 'globoapp'") == 1


def test_who_asks_for_the_values_by_name_gets_none(loaders, minion):
    pillar = pillar_of("all", "/srv/x/y")
    pillar["globoapp"]["version"] = pillar.pop("version")
    options = {**copy.deepcopy(minion.config), "grains": loaders.opts["grains"], "pillar": pillar}
    for function, shown in (("globoapp_minion.kubernetes_values", False), ("state.apply", True)):
        modules = salt.loader.minion_mods({**options, "fun": function, "arg": []}, utils=salt.loader.utils(options))
        assert bool(modules["globoapp_minion.kubernetes_values"]("globoapp")) is shown
