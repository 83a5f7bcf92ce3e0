"""The Pod Security Standard "restricted" as a table: what a pod template may not be, and what says so."""


def _containers(pod):
    return [*pod.get("initContainers", []), *pod["containers"], *pod.get("ephemeralContainers", [])]


def _each(check):
    """The check of a pod: that of each container's own securityContext."""
    return lambda pod: all(
        check(one.get("securityContext", {}), pod.get("securityContext", {})) for one in _containers(pod)
    )


VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
SYSCTLS = {"net.ipv4.ip_unprivileged_port_start", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range"}

# Baseline and restricted (kubernetes.io, Pod Security Standards): control -> whether a pod's spec keeps to it.
CONTROLS = {
    "no host namespaces": lambda pod: not any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")),
    "no host process": _each(lambda own, all_: not own.get("windowsOptions", all_.get("windowsOptions"))),
    "not privileged": _each(lambda own, _: not own.get("privileged")),
    "capabilities: ALL dropped": _each(lambda own, _: own.get("capabilities", {}).get("drop") == ["ALL"]),
    "capabilities: none added": _each(
        lambda own, _: not set(own["capabilities"].get("add", [])) - {"NET_BIND_SERVICE"}
    ),
    "volumes of the kinds that are allowed": lambda pod: all(
        set(volume) - {"name"} <= VOLUMES for volume in pod.get("volumes", [])
    ),
    "no host ports": lambda pod: (
        not any(port.get("hostPort") for one in _containers(pod) for port in one.get("ports", []))
    ),
    "no probes of other hosts": lambda pod: (
        not any(
            handler.get("host")
            for one in _containers(pod)
            for key in ("livenessProbe", "readinessProbe", "startupProbe")
            for handler in one.get(key, {}).values()
            if isinstance(handler, dict)
        )
    ),
    "AppArmor and SELinux as they are": _each(
        lambda own, all_: not {"appArmorProfile", "seLinuxOptions", "procMount"} & {*own, *all_}
    ),
    "seccomp: RuntimeDefault or Localhost": _each(
        lambda own, all_: (
            own.get("seccompProfile", all_.get("seccompProfile", {})).get("type") in ("RuntimeDefault", "Localhost")
        )
    ),
    "sysctls that are safe": lambda pod: all(
        one["name"] in SYSCTLS for one in pod.get("securityContext", {}).get("sysctls", [])
    ),
    "no escalation": _each(lambda own, _: own.get("allowPrivilegeEscalation") is False),
    "not root": _each(lambda own, all_: own.get("runAsNonRoot", all_.get("runAsNonRoot")) is True),
    "no uid 0": _each(lambda own, all_: own.get("runAsUser", all_.get("runAsUser", 1)) != 0),
}


def broken(pod):
    """Returns the controls (list of str) that a pod's spec (dict) does not keep to."""
    return [control for control, keeps in CONTROLS.items() if not keeps(pod)]
