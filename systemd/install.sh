#!/usr/bin/env bash
# Install, upgrade or remove the edge agent as a systemd service. Run it again at any time: it changes only what differs.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
readonly here
readonly prefix=/opt/edge-agent # a link to the environment in use, /opt/edge-agent-KEY
readonly config=/etc/edge-agent
readonly state=/var/lib/edge-agent
readonly unit=/etc/systemd/system/edge-agent.service
readonly sysusers=/etc/sysusers.d/edge-agent.conf
readonly rules=/etc/udev/rules.d/60-edge-agent.rules
readonly command=/usr/local/bin/edge-agent

usage() {
    cat <<'TEXT'
usage: install.sh [--runtime litert|tflite] [--camera] [--python PYTHON] [--wheels FOLDER] WHEEL
       install.sh --uninstall [--purge]

Installs the agent's wheel (make wheel) as the service edge-agent, as root:
an environment in /opt/edge-agent, the user edge-agent, the unit, udev rules, and an example
of the settings in /etc/edge-agent. The service is started once its settings are more than the example.

  --runtime   litert (default), or tflite: the older runtime, for Python 3.11 only
  --camera    with OpenCV, for cameras, videos and images: some 150 MB more
  --python    interpreter of the environment, 3.11 or later (default: python3)
  --wheels    take all packages from this folder, nothing from the network
  --uninstall remove the service; settings, state and the user stay
  --purge     remove those, too: outbox, evidence, models, secrets
TEXT
}

say() { printf 'install.sh: %s\n' "$*"; }

die() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}

# Whether a systemd runs here to be told (not in a container or an image being built).
systemd_runs() { [[ -d /run/systemd/system ]]; }

# Replace a file in one step, if it differs: place SOURCE TARGET MODE
place() {
    cmp --silent -- "$1" "$2" && return
    install -D --mode="$3" -- "$1" "$2.new"
    mv -- "$2.new" "$2"
    say "wrote $2"
}

# Build the environment beside the one in use and switch the link when it is whole: a failure leaves the old one running.
make_environment() {
    local wheel=$1 packages=$2 python=$3 wheels=$4
    local locked=$here/../requirements/device-$packages.txt key target
    local -a from=()
    [[ -r $locked ]] || die "$locked is missing: run install.sh from the project's systemd folder"
    "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        die "$python is not Python 3.11 or later with venv: install python3 and python3-venv, or name one with --python"
    [[ -n $wheels ]] && from=(--no-index --find-links "$wheels")
    key=$({ "$python" --version && cat -- "$wheel" "$locked"; } | sha256sum | cut -c1-12)
    target=$prefix-$key
    if [[ ! -e $target/complete ]]; then
        rm -rf -- "$target"
        "$python" -m venv "$target"
        "$target/bin/python" -m pip install --quiet --disable-pip-version-check "${from[@]}" --require-hashes -r "$locked"
        "$target/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-index "$wheel"
        "$target/bin/edge-agent" --version >/dev/null
        touch "$target/complete"
    fi
    ln --symbolic --force --no-dereference "$target" "$prefix.new"
    mv --no-target-directory -- "$prefix.new" "$prefix"
    say "environment: $("$prefix/bin/edge-agent" --version) in $target"
    find "$(dirname "$prefix")" -maxdepth 1 -name 'edge-agent-*' ! -path "$target" -exec rm -rf -- {} +
}

# The command for people: the service's folders, unless told otherwise.
make_command() {
    local text
    text=$(mktemp)
    cat >"$text" <<'TEXT'
#!/bin/sh
# Run the installed agent's command line on the service's own folders.
export STATE_DIRECTORY="${STATE_DIRECTORY:-/var/lib/edge-agent}"
export RUNTIME_DIRECTORY="${RUNTIME_DIRECTORY:-/run/edge-agent}"
export CREDENTIALS_DIRECTORY="${CREDENTIALS_DIRECTORY:-/etc/edge-agent/credentials}"
exec /opt/edge-agent/bin/edge-agent "$@"
TEXT
    place "$text" "$command" 0755
    rm -- "$text"
}

make_folders() {
    systemd-sysusers "$sysusers"
    install -d --mode=0755 "$config"
    install -d --mode=0700 "$config/credentials"
    install -d --mode=0750 --owner=edge-agent --group=edge-agent "$state"
    place "$here/../examples/config.toml" "$config/config.example.toml" 0644
    [[ -e $config/config.toml ]] || install --mode=0644 "$config/config.example.toml" "$config/config.toml"
}

# Start or restart the service with settings that pass; otherwise say what is to be done.
start() {
    if cmp --silent -- "$config/config.toml" "$config/config.example.toml"; then
        say "next: edit $config/config.toml (or: edge-agent init --port PORT --out $config/config.toml --force),"
        say "then: edge-agent check && systemctl enable --now edge-agent"
        return
    fi
    local code=0
    # Without hardware: a service that runs already holds the port. Only 78 means that the agent could not start with them.
    "$command" check --no-hardware --config "$config/config.toml" || code=$?
    ((code != 78)) || die "these settings cannot be used: what ran before goes on, with the settings it has"
    systemctl enable --quiet edge-agent.service
    if systemd_runs; then
        systemctl restart edge-agent.service
        say "the service runs; ask it with: edge-agent status"
    fi
}

install_service() {
    make_environment "$@"
    place "$here/edge-agent.sysusers" "$sysusers" 0644
    place "$here/60-edge-agent.rules" "$rules" 0644
    place "$here/edge-agent.service" "$unit" 0644
    make_command
    make_folders
    if systemd_runs; then
        systemctl daemon-reload
        if command -v udevadm >/dev/null; then
            udevadm control --reload || say "udev does not run here; its rules hold from the next start"
        fi
    fi
    start
}

uninstall() {
    local purge=$1
    if systemd_runs && [[ -e $unit ]]; then
        systemctl disable --now --quiet edge-agent.service
    fi
    rm -f -- "$unit" /etc/systemd/system/multi-user.target.wants/edge-agent.service "$rules" "$sysusers" "$command"
    rm -rf -- "$prefix" "$prefix"-*
    if systemd_runs; then
        systemctl daemon-reload
        systemctl reset-failed edge-agent.service 2>/dev/null || true
    fi
    if [[ -n $purge ]]; then
        rm -rf -- "$config" "$state"
        if getent passwd edge-agent >/dev/null; then userdel edge-agent; fi
        say "removed, with settings, state and user"
    else
        say "removed; settings in $config and state in $state are kept (--purge removes them)"
    fi
}

main() {
    local runtime=litert camera='' python=python3 wheels='' wheel='' removing='' purge=''
    while (($#)); do
        case $1 in
            --runtime) runtime=${2:?--runtime needs litert or tflite}; shift ;;
            --camera) camera=-camera ;;
            --python) python=${2:?--python needs an interpreter}; shift ;;
            --wheels) wheels=${2:?--wheels needs a folder}; shift ;;
            --uninstall) removing=yes ;;
            --purge) purge=yes ;;
            --help | -h) usage; return ;;
            -*) usage >&2; die "unknown option $1" ;;
            *) wheel=$1 ;;
        esac
        shift
    done
    [[ $runtime == litert || $runtime == tflite ]] || die "--runtime is litert or tflite, got '$runtime'"
    [[ -z $purge || -n $removing ]] || die "--purge belongs to --uninstall"
    if [[ -z $removing ]]; then
        [[ -n $wheel ]] || { usage >&2; exit 2; }
        [[ -f $wheel && $wheel == *.whl ]] || die "expected the agent's wheel, got '$wheel': make one with make wheel"
    fi
    ((EUID == 0)) || die "needs root: sudo $0 ..."
    if [[ -n $removing ]]; then uninstall "$purge"; return; fi
    install_service "$wheel" "$runtime$camera" "$python" "$wheels"
}

main "$@"
