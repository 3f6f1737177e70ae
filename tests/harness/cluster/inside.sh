# Runs in the cluster's own mount and network namespaces: what the node's programs find at fixed paths and
# addresses is the cluster's own, and nothing of it is seen outside. Argument: the cluster's folder.
folder=$1
mount --make-rshared /
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/lock /run/containerd "$folder/runtime"
# Its socket is seen from outside too.
mount --bind "$folder/runtime" /run/containerd
mount -t tmpfs -o mode=755 tmpfs /var/log
mkdir "$folder/lib" "$folder/lib.work" "$folder/kubelet" "$folder/containerd"
mount -t overlay -o "lowerdir=/var/lib,upperdir=$folder/lib,workdir=$folder/lib.work" overlay /var/lib
mkdir -p /var/lib/kubelet /var/lib/containerd /var/lib/cni
mount --bind "$folder/kubelet" /var/lib/kubelet
mount --bind "$folder/containerd" /var/lib/containerd

# The kubelet wants these settings of the kernel, and would change them for the whole machine: it is shown files
# that have them already.
mkdir "$folder/sys"
while read -r setting value; do
    [ -e "/proc/sys/$setting" ] || continue
    file="$folder/sys/$(echo "$setting" | tr / .)"
    echo "$value" >"$file"
    mount --bind "$file" "/proc/sys/$setting"
done <<END
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
END

ip link set lo up
# The API's cluster IP: pods reach it without kube-proxy.
ip address add 10.96.0.1/32 dev lo
# The node's address.
ip link add node0 type bridge
ip address add 192.168.96.2/24 dev node0
ip link set node0 up
echo 1 >/proc/sys/net/ipv4/ip_forward
touch "$folder/inside.ready"
exec sleep infinity
