#!/bin/sh
# Inside the container: a Ceph cluster of one monitor, one manager and one store in memory, and the
# S3 gateway before it on port 8000. Authentication stays on: without it radosgw hangs over msgr2.
set -eu
fsid=$(cat /proc/sys/kernel/random/uuid)
mkdir -p /etc/ceph /var/run/ceph /var/lib/ceph/mon/ceph-a /var/lib/ceph/mgr/ceph-x \
    /var/lib/ceph/osd/ceph-0 /var/lib/ceph/radosgw/ceph-rgw.a
cat >/etc/ceph/ceph.conf <<CONF
[global]
fsid = $fsid
mon_initial_members = a
mon_host = 127.0.0.1
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
osd_objectstore = memstore
memstore_device_bytes = 4294967296
log_to_stderr = false
[client.rgw.a]
rgw_frontends = beast port=8000
# A lifecycle's day takes ten seconds.
rgw_lc_debug_interval = 10
CONF
admin=/etc/ceph/ceph.client.admin.keyring
ceph-authtool --create-keyring /tmp/mon.keyring --gen-key -n mon. --cap mon 'allow *' >/dev/null
ceph-authtool --create-keyring $admin --gen-key -n client.admin \
    --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *' >/dev/null
ceph-authtool /tmp/mon.keyring --import-keyring $admin >/dev/null
monmaptool --create --add a 127.0.0.1 --fsid "$fsid" /tmp/monmap >/dev/null
ceph-mon --mkfs -i a --monmap /tmp/monmap --keyring /tmp/mon.keyring
ceph-mon -i a
ceph auth get-or-create mgr.x mon 'allow profile mgr' osd 'allow *' >/var/lib/ceph/mgr/ceph-x/keyring
ceph-mgr -i x
uuid=$(cat /proc/sys/kernel/random/uuid)
ceph osd new "$uuid" 0 >/dev/null
ceph auth get-or-create osd.0 mon 'allow profile osd' osd 'allow *' mgr 'allow profile osd' \
    >/var/lib/ceph/osd/ceph-0/keyring
ceph-osd -i 0 --mkfs --osd-uuid "$uuid"
ceph-osd -i 0
ceph auth get-or-create client.rgw.a mon 'allow rw' osd 'allow rwx' \
    >/var/lib/ceph/radosgw/ceph-rgw.a/keyring
radosgw -n client.rgw.a --keyring /var/lib/ceph/radosgw/ceph-rgw.a/keyring
# The pruner may do all; the host is given only what a bucket policy allows it.
for user in pruner host; do
    radosgw-admin user create --uid=$user --display-name=$user \
        --access-key=access-$user --secret-key=secret-$user >/dev/null
done
echo ready
sleep infinity
