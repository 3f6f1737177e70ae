# Makes the sandbox that a cluster lives in, and clears it away when stdin ends, however the tests ended.
#
# Arguments: the cluster's name (its cgroup's), its folder, the script for the inside of its namespaces.
# Prints `ready PID`: the process whose mount and network namespaces the cluster's programs enter.
set -eu
name=$1 folder=$2 inside=$3
trap '' HUP INT TERM

hierarchies() {
    while read -r _ at type _; do
        case $type in cgroup | cgroup2) echo "$at" ;; esac
    done </proc/self/mounts | sort -u
}

# The kubelet wants its root in every hierarchy of cgroups.
for at in $(hierarchies); do
    mkdir "$at/$name"
    for file in cpuset.cpus cpuset.mems; do
        if [ -w "$at/$name/$file" ] && [ -z "$(cat "$at/$name/$file")" ]; then
            cat "$at/$file" >"$at/$name/$file" 2>/dev/null || true
        fi
    done
done

clear_away() {
    set +e
    tries=0
    # Again and again: a runtime may start one more while the others die.
    while [ $tries -lt 100 ]; do
        pids=
        for at in $(hierarchies); do
            [ -d "$at/$name" ] || continue
            [ -e "$at/$name/cgroup.kill" ] && echo 1 >"$at/$name/cgroup.kill"
            pids="$pids $(find "$at/$name" -name cgroup.procs -exec cat {} + 2>/dev/null)"
        done
        # 0 stands for a process that cannot be seen from here, and would be this group to kill(1).
        pids=$(echo "$pids" | tr ' ' '\n' | grep -vx -e 0 -e '' | sort -u)
        [ -z "$pids" ] && break
        # shellcheck disable=SC2086
        kill -9 $pids 2>/dev/null
        tries=$((tries + 1))
        sleep 0.1
    done
    [ -n "${holder:-}" ] && kill -9 "$holder" 2>/dev/null && wait "$holder" 2>/dev/null
    tries=0
    while [ $tries -lt 50 ]; do
        left=
        for at in $(hierarchies); do
            [ -d "$at/$name" ] || continue
            find "$at/$name" -depth -type d -exec rmdir {} \; 2>/dev/null
            [ -d "$at/$name" ] && left=1
        done
        rm -rf --one-file-system "$folder" 2>/dev/null
        [ -e "$folder" ] && left=1
        [ -z "$left" ] && exit 0
        tries=$((tries + 1))
        sleep 0.1
    done
    echo "left behind: $name $folder" >&2
    exit 1
}

unshare --mount --net sh -eu -c "$inside" inside "$folder" >"$folder/inside.log" 2>&1 </dev/null &
holder=$!
tries=0
until [ -e "$folder/inside.ready" ]; do
    tries=$((tries + 1))
    if [ $tries -gt 200 ] || ! kill -0 "$holder" 2>/dev/null; then
        cat "$folder/inside.log" >&2
        clear_away
    fi
    sleep 0.05
done
echo "ready $holder"
cat >/dev/null
clear_away
