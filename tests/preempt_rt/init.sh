#!/bin/busybox sh
# PID 1 of the guest: the host's files, read-only, under a layer in memory; one command; off.
/bin/busybox --install -s /bin
mkdir -p /proc /host /layer /root
mount -t proc proc /proc
while read -r module; do insmod "/modules/$module"; done < /modules/order
mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144,cache=loose host /host
mount -t tmpfs layer /layer
mkdir /layer/upper /layer/work
mount -t overlay -o lowerdir=/host,upperdir=/layer/upper,workdir=/layer/work overlay /root
mount --move /proc /root/proc
mount -t sysfs sys /root/sys
mount -t devtmpfs dev /root/dev
mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts devpts /root/dev/pts
mount -t tmpfs -o mode=1777 shm /root/dev/shm
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 shared /root/mnt
ifconfig lo 127.0.0.1 up
chroot /root /bin/sh /mnt/command > /root/mnt/output 2>&1
echo $? > /root/mnt/status
sync
poweroff -f
