#!/bin/sh
# Runs a command, and keeps in /root/trace what it and its children do with paths.
calls=open,openat,openat2,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat
calls=$calls,rmdir,chmod,fchmodat,chown,lchown,fchownat,truncate,execve,connect
users=setuid,setreuid,setresuid,clone,clone3,fork,vfork
exec strace -D -f --seccomp-bpf -y -qq -s 4096 -o "/root/trace/$(date +%s%N)" -e trace=$calls,$users "$@"
